"""Classification heads, and the logits that they return."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, eq=False)
class Logits:
    """Scores of a batch before softmax, one set per stream; a network of one stream leaves the other out.

    Raises:
        ValueError: if no stream is given, or the streams disagree in shape.
    """

    rgb: Tensor | None = None  # (B, K) float
    pose: Tensor | None = None  # (B, K) float

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError("logits need at least one stream, got none")
        shapes = {name: tuple(logits.shape) for name, logits in self.streams.items()}
        if any(len(shape) != 2 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            got = " and ".join(f"{shape} for {name}" for name, shape in shapes.items())
            raise ValueError(f"logits must be (B, K), the same for each stream, got {got}")

    @property
    def streams(self) -> dict[str, Tensor]:
        """The logits (B, K) of the streams that are there, by name: `rgb`, `pose`."""
        named = {"rgb": self.rgb, "pose": self.pose}
        return {name: logits for name, logits in named.items() if logits is not None}

    @property
    def fused(self) -> Tensor:
        """The published prediction (B, K): the sum of the streams' logits."""
        return torch.stack(tuple(self.streams.values())).sum(dim=0)


class TwoStreamHead(nn.Module):
    """One classifier per stream: mean over time and space, dropout, a fully connected layer.

    Args:
        num_classes: number of classes K.
        rgb_channels: channels of the RGB features.
        pose_channels: channels of the pose features.
        dropout: probability of dropping a pooled channel in training.

    Raises:
        ValueError: if num_classes is not positive.
    """

    def __init__(
        self, num_classes: int, rgb_channels: int = 432, pose_channels: int = 216, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.dropout = nn.Dropout(dropout)
        self.rgb_fc = nn.Linear(rgb_channels, num_classes)
        self.pose_fc = nn.Linear(pose_channels, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the published start: weights N(0, 0.01), biases 0."""
        for layer in (self.rgb_fc, self.pose_fc):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        """Classifies features (B, C, T, H, W), float, of both streams; sizes may differ between them.

        Raises:
            ValueError: if features are not 5-D or their channels do not fit.
        """
        return Logits(rgb=self._classify("rgb", rgb, self.rgb_fc), pose=self._classify("pose", pose, self.pose_fc))

    def _classify(self, name: str, features: Tensor, layer: nn.Linear) -> Tensor:
        if features.ndim != 5 or features.shape[1] != layer.in_features:
            raise ValueError(f"{name} features must be (B, {layer.in_features}, T, H, W), got {tuple(features.shape)}")
        scores: Tensor = layer(self.dropout(features.mean(dim=(2, 3, 4))))
        return scores
