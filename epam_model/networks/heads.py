"""Classification heads, PCAN's prototypes, and the logits that heads return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.ranks.dropout import RanksDropout

FINE_WIDTH, COARSE_WIDTH = 256, 128
"""Channels of the embeddings that are compared with the prototypes of the classes and of the coarse groups."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Logits:
    """Scores of a batch before softmax, for each stream; None for a stream that the network does not have.

    Raises:
        ValueError: if no stream is given, or the shapes of the streams differ.
    """

    rgb: Tensor | None = None  # (B, K) float
    pose: Tensor | None = None  # (B, K) float
    rgb_coarse: Tensor | None = None  # (B, Kc) float, from a head with coarse groups
    pose_coarse: Tensor | None = None  # (B, Kc) float
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    """In training, by prototype bank: (B, width) float, which the loss compares with the prototypes."""

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError("logits need at least one stream, got none")
        for kind, given in (("B, K", self.streams), ("B, Kc", self.coarse_streams)):
            shapes = {name: tuple(logits.shape) for name, logits in given.items()}
            first = next(iter(shapes.values()), ())  # compared, not put into a set: when exporting, sizes are symbols
            if any(len(shape) != 2 or shape != first for shape in shapes.values()):
                got = " and ".join(f"{shape} for {name}" for name, shape in shapes.items())
                raise ValueError(f"logits must be ({kind}), the same for each stream, got {got}")

    @property
    def streams(self) -> dict[str, Tensor]:
        """The logits (B, K) of each stream that the network has, by name: `rgb`, `pose`."""
        named = {"rgb": self.rgb, "pose": self.pose}
        return {name: logits for name, logits in named.items() if logits is not None}

    @property
    def coarse_streams(self) -> dict[str, Tensor]:
        """The coarse logits (B, Kc) of the streams that have them, by name of the stream."""
        named = {"rgb": self.rgb_coarse, "pose": self.pose_coarse}
        return {name: logits for name, logits in named.items() if logits is not None}

    @property
    def fused(self) -> Tensor:
        """The published prediction (B, K): the sum of the streams' logits."""
        return torch.stack(tuple(self.streams.values())).sum(dim=0)


class Head(Protocol):
    """A module that maps the features of its streams to `Logits`, or those of a single stream to `StreamScores`."""

    streams: tuple[str, ...]
    """Of `rgb` and `pose`, in the order of the arguments."""
    __call__: Callable[..., Any]


class PrototypeBank(nn.Module):
    """An embedding of pooled features, and one prototype per class in its space.

    Args:
        name: which bank of the model this is: `rgb_fine`, `rgb_coarse`, `pose_fine` or `pose_coarse`.
        channels: channels of the features.
        width: channels of the embedding.
        num_classes: number of classes K.

    Attributes:
        prototypes: (width, K) float, a persistent buffer, random at first. No gradient changes it: the losses
            compute new prototypes, and call `remember` after an optimiser step (`losses.pcan`).
    """

    prototypes: Tensor

    def __init__(self, name: str, channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.name = name
        self.embed = nn.Linear(channels, width)
        self.register_buffer("prototypes", torch.randn(width, num_classes))

    def forward(self, pooled: Tensor) -> Tensor:
        """Embeds pooled features (B, channels): (B, width)."""
        embedding: Tensor = self.embed(pooled)
        return embedding

    def similarity(self, pooled: Tensor) -> Tensor:
        """Cosines (B, K) of the embedded features (B, channels) and the prototypes."""
        return functional.normalize(self.embed(pooled), dim=1) @ functional.normalize(self.prototypes, dim=0)

    @torch.no_grad()
    def remember(self, prototypes: Tensor) -> None:
        """Replaces the prototypes (width, K)."""
        self.prototypes.copy_(prototypes)


def prototype_banks(model: nn.Module) -> dict[str, PrototypeBank]:
    """All prototype banks of a model, by name; empty for a model with plain heads."""
    return {bank.name: bank for bank in model.modules() if isinstance(bank, PrototypeBank)}


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamScores:
    """What the head of one stream returns."""

    fine: Tensor  # (B, K) float
    coarse: Tensor | None = None  # (B, Kc) float
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)  # in training, by name of the bank


class StreamHead(nn.Module):
    """The classifier of one stream: mean over time and space, dropout, a fully connected layer.

    With coarse groups it is PCAN's head (Li et al., AAAI 2025): a second layer scores the groups, and two prototype
    banks embed the features. In training it returns the embeddings for the losses; in evaluation it adds the
    similarity to the fine prototypes to the scores.

    Args:
        stream: `rgb` or `pose`.
        channels: channels of the features.
        num_classes: number of classes K.
        num_coarse_classes: number of coarse groups Kc; 0: a plain classifier.
        dropout: probability of dropping a pooled channel in training.
        rectification: factor of the similarity that is added to the fine scores in evaluation.

    Attributes:
        streams: the streams whose features forward takes, in this order.

    Raises:
        ValueError: for an unknown stream, or a number of classes that is not positive.
    """

    def __init__(
        self,
        stream: str,
        channels: int,
        num_classes: int,
        *,
        num_coarse_classes: int = 0,
        dropout: float = 0.5,
        rectification: float = 0.0,
    ) -> None:
        super().__init__()
        if stream not in ("rgb", "pose"):
            raise ValueError(f"stream must be one of rgb, pose, got {stream!r}")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if num_coarse_classes < 0:
            raise ValueError(f"num_coarse_classes must be at least 0, got {num_coarse_classes}")
        self.stream = stream
        self.streams: tuple[str, ...] = (stream,)
        self.rectification = rectification
        self.dropout = RanksDropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self.fc_coarse: nn.Linear | None = None
        if num_coarse_classes:
            self.fc_coarse = nn.Linear(channels, num_coarse_classes)
            self.fine_bank = PrototypeBank(f"{stream}_fine", channels, FINE_WIDTH, num_classes)
            self.coarse_bank = PrototypeBank(f"{stream}_coarse", channels, COARSE_WIDTH, num_coarse_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the published initialisation of the classifiers: weights N(0, 0.01), biases 0."""
        for layer in (self.fc, self.fc_coarse):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> StreamScores:
        """Classifies features (B, C, T, H, W), float.

        Raises:
            ValueError: if features are not 5-D or their channels do not fit.
        """
        if features.ndim != 5 or features.shape[1] != self.fc.in_features:
            raise ValueError(
                f"{self.stream} features must be (B, {self.fc.in_features}, T, H, W), got {tuple(features.shape)}"
            )
        pooled = self.dropout(features.mean(dim=(2, 3, 4)))  # (B, C)
        fine: Tensor = self.fc(pooled)
        if self.fc_coarse is None:
            return StreamScores(fine=fine)
        coarse: Tensor = self.fc_coarse(pooled)
        if self.training:
            # The maximum over the mean frame; among equal pixels the first gets the gradient, as published. Not
            # `adaptive_max_pool2d`: it has no deterministic backward pass on CUDA.
            peak = features.mean(dim=2).flatten(2).max(dim=2).values  # (B, C)
            embeddings = {bank.name: bank(peak) for bank in (self.fine_bank, self.coarse_bank)}
            return StreamScores(fine=fine, coarse=coarse, embeddings=embeddings)
        return StreamScores(fine=fine + self.rectification * self.fine_bank.similarity(pooled), coarse=coarse)


class TwoStreamHead(nn.Module):
    """One classifier per stream, see `StreamHead`.

    Args:
        num_classes: number of classes K.
        rgb_channels: channels of the RGB features.
        pose_channels: channels of the pose features.
        dropout: probability of dropping a pooled channel in training; one for both streams, or `rgb` and `pose`.
        num_coarse_classes: number of coarse groups Kc of PCAN's head; 0: plain classifiers.
        rgb_rectification: factor of the prototype similarity in evaluation, for the RGB scores.
        pose_rectification: the same for the pose scores. The published factors are 5 and 1.

    Attributes:
        streams: the streams whose features forward takes, in this order.

    Raises:
        ValueError: if num_classes is not positive, or dropout is not one of these.
    """

    def __init__(
        self,
        num_classes: int,
        rgb_channels: int = 432,
        pose_channels: int = 216,
        dropout: float | Mapping[str, float] = 0.5,
        *,
        num_coarse_classes: int = 0,
        rgb_rectification: float = 5.0,
        pose_rectification: float = 1.0,
    ) -> None:
        super().__init__()
        self.streams: tuple[str, ...] = ("rgb", "pose")
        dropouts = dropout if isinstance(dropout, Mapping) else dict.fromkeys(self.streams, dropout)
        if set(dropouts) != set(self.streams):
            raise ValueError(f"dropout must be a probability, or one for each of rgb and pose, got {dropout}")
        self.rgb = StreamHead(
            "rgb",
            rgb_channels,
            num_classes,
            num_coarse_classes=num_coarse_classes,
            dropout=dropouts["rgb"],
            rectification=rgb_rectification,
        )
        self.pose = StreamHead(
            "pose",
            pose_channels,
            num_classes,
            num_coarse_classes=num_coarse_classes,
            dropout=dropouts["pose"],
            rectification=pose_rectification,
        )

    def init_weights(self) -> None:
        """Sets the published initialisation of all classifiers: weights N(0, 0.01), biases 0."""
        self.rgb.init_weights()
        self.pose.init_weights()

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        """Classifies features (B, C, T, H, W), float, of both streams; their sizes may differ.

        Raises:
            ValueError: if features are not 5-D or their channels do not fit.
        """
        rgb_scores: StreamScores = self.rgb(rgb)
        pose_scores: StreamScores = self.pose(pose)
        return Logits(
            rgb=rgb_scores.fine,
            pose=pose_scores.fine,
            rgb_coarse=rgb_scores.coarse,
            pose_coarse=pose_scores.coarse,
            embeddings={**rgb_scores.embeddings, **pose_scores.embeddings},
        )
