"""RGBPoseHead with coarse groups and prototypes, for MMAction2: our head and our losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmaction.registry import MODELS
from torch import Tensor

from epam_data.taxonomy import TAXONOMIES
from epam_model.losses.objective import OBJECTIVES
from epam_model.losses.settings import LossSettings
from epam_model.mmaction.state_names import save_under
from epam_model.networks.heads import Logits, TwoStreamHead
from epam_model.weights.published_names import LINEAR_HEAD, PCAN_HEAD

COMPONENTS = ("rgb", "pose")
COARSE_COMPONENTS = ("rgb_coarse", "pose_coarse")
AVERAGES = ("prob", "score", None)


@MODELS.register_module()
class PCANRGBPoseHead(TwoStreamHead):
    """One classifier per stream, with coarse groups and prototypes if `num_coarse_classes` is given.

    It reads the first two elements of a backbone's tuple, and the labels from the data samples: labels do not pass
    through a network. Without coarse groups it is MMAction2's `RGBPoseHead`.

    Args:
        num_classes: number of classes K.
        in_channels: channels of the RGB and the pose features: [432, 216] for EPAM-Net, [2048, 512] for RGBPoseConv3D.
        num_coarse_classes: number of coarse groups Kc; 0: plain classifiers.
        taxonomy: the data set that gives the group of each class (`ntu60`, `ma52`); None: the one with K and Kc.
        loss_components: components of `loss_weights`: `rgb` and `pose`, also `rgb_coarse` and `pose_coarse`.
        loss_weights: factors of the cross-entropies: one for all; one per component; two, for RGB and pose, each for
            the fine and the coarse one; or four: rgb, pose, rgb_coarse, pose_coarse.
        average_clips: how to average the clips of a sample: `prob`: mean of softmax, `score`: mean of the scores,
            None: not at all.
        dropout: probability of dropping a pooled channel in training; a dict has one for `rgb` and one for `pose`.
        label_smooth_eps: share of a target that is spread evenly over all classes.

    Raises:
        ValueError: an argument is not allowed; the message names it.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int] = (432, 216),
        num_coarse_classes: int = 0,
        taxonomy: str | None = None,
        loss_components: Sequence[str] = COMPONENTS,
        loss_weights: float | Sequence[float] = 1.0,
        average_clips: str | None = "prob",
        dropout: float | Mapping[str, float] = 0.5,
        label_smooth_eps: float = 0.0,
    ) -> None:
        if len(in_channels) != 2:
            raise ValueError(f"in_channels must be [RGB channels, pose channels], got {list(in_channels)}")
        if average_clips not in AVERAGES:
            raise ValueError(f"average_clips must be one of prob, score, None, got {average_clips!r}")
        rgb_channels, pose_channels = in_channels
        super().__init__(num_classes, rgb_channels, pose_channels, dropout, num_coarse_classes=num_coarse_classes)
        self.coarse_of = coarse_table(num_classes, num_coarse_classes, taxonomy)
        self.average_clips = average_clips
        factors = loss_factors(loss_components, loss_weights)
        settings = LossSettings(**factors, label_smoothing=label_smooth_eps)
        self.objective = OBJECTIVES["pcan" if num_coarse_classes else "linear"](self, settings, self.coarse_of)
        self.objective_terms = self.objective.terms  # if it is a module, it moves between devices with the head
        save_under(self, PCAN_HEAD if num_coarse_classes else LINEAR_HEAD)

    def forward(self, feats: Sequence[Tensor]) -> Logits:  # type: ignore[override]  # MMAction2 passes a tuple
        """The scores of a backbone's features: (rgb (N, C, T, H, W), pose (N, C', T', H', W'), ...)."""
        return super().forward(feats[0], feats[1])

    def loss(self, feats: Sequence[Tensor], data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """The loss terms, whose sum MMEngine minimises, and `rgb_top1_acc`, `pose_top1_acc` for the log.

        Args:
            feats: of N clips.
            data_samples: N `ActionDataSample`s with `gt_label`.
        """
        logits = self(feats)
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(feats[0].device)
        terms = self.objective.terms(logits, labels)
        self.objective.end_step(True)  # MMEngine does not say when it steps
        hits = {stream: scores.argmax(1) == labels for stream, scores in logits.streams.items()}
        return {**terms, **{f"{stream}_top1_acc": hit.float().mean() for stream, hit in hits.items()}}

    def predict(self, feats: Sequence[Tensor], data_samples: Sequence[Any]) -> Sequence[Any]:
        """Sets `pred_score` of each data sample: {"rgb": (K,), "pose": (K,)}, as `AccMetric` reads it.

        Args:
            feats: of N clips, those of a sample one after another.
            data_samples: B `ActionDataSample`s; labels are not needed.
        """
        streams = self(feats).streams
        for stream, scores in streams.items():
            streams[stream] = self._averaged(scores.unflatten(0, (len(data_samples), -1)).float())
        for number, sample in enumerate(data_samples):
            sample.set_pred_score({stream: scores[number] for stream, scores in streams.items()})
        return data_samples

    def _averaged(self, scores: Tensor) -> Tensor:
        """(B, clips, K) to (B, K)."""
        if self.average_clips is None:
            return scores
        return (scores.softmax(dim=2) if self.average_clips == "prob" else scores).mean(dim=1)


def coarse_table(num_classes: int, num_coarse_classes: int, taxonomy: str | None = None) -> tuple[int, ...]:
    """The coarse label of each class.

    Args:
        num_classes: K.
        num_coarse_classes: Kc; 0: all classes are in one group.
        taxonomy: a key of `TAXONOMIES`; None: the one with these numbers.

    Raises:
        ValueError: there is no such taxonomy, or its numbers differ.
    """
    if not num_coarse_classes:
        return (0,) * num_classes
    if taxonomy is not None and taxonomy not in TAXONOMIES:
        raise ValueError(f"taxonomy must be one of {', '.join(TAXONOMIES)}, got {taxonomy!r}")
    numbers = (num_classes, num_coarse_classes)
    tables = [each for name, each in TAXONOMIES.items() if taxonomy in (None, name)]
    sizes = {each.name: (len(each.classes), len(each.groups)) for each in tables}
    fitting = [each for each in tables if sizes[each.name] == numbers]
    if len(fitting) != 1:
        known = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(f"num_classes and num_coarse_classes must be those of a taxonomy ({known}), got {numbers}")
    return fitting[0].coarse_of


def loss_factors(components: Sequence[str], weights: float | Sequence[float]) -> dict[str, float]:
    """The factor of each cross-entropy by name: `rgb`, `pose`, `rgb_coarse`, `pose_coarse`.

    Raises:
        ValueError: a component is unknown, `rgb` or `pose` is missing, or the number of weights is wrong.
    """
    names = COMPONENTS + COARSE_COMPONENTS
    if not set(COMPONENTS) <= set(components) <= set(names) or len(set(components)) != len(components):
        raise ValueError(f"loss_components must be rgb and pose, and may be {', '.join(names)}, got {list(components)}")
    if isinstance(weights, int | float):
        weights = [weights] * len(components)
    elif len(weights) == len(names):
        components = components if len(components) == len(names) else names
    if len(weights) != len(components):
        raise ValueError(f"loss_weights must be one per component of {list(components)}, or four, got {list(weights)}")
    given = {name: float(weight) for name, weight in zip(components, weights, strict=True)}
    return {name: given.get(name, given[name.partition("_")[0]]) for name in names}
