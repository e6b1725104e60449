"""The cross-entropy of each stream: the only loss of a plain head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from epam_model.losses.settings import LossSettings
from epam_model.networks.heads import Logits


def cross_entropies(settings: LossSettings, logits: Logits, labels: Tensor) -> dict[str, Tensor]:
    """`loss_rgb` and `loss_pose`, for the streams that exist: scalars, means over the batch times their factors.

    Args:
        settings: the factors.
        logits: of B clips and K classes.
        labels: (B,) int64 in 0 ... K - 1.

    Raises:
        ValueError: labels are not (B,).
    """
    return {
        f"loss_{stream}": weighted_cross_entropy(settings, stream, scores, labels)
        for stream, scores in logits.streams.items()
    }


def weighted_cross_entropy(settings: LossSettings, name: str, scores: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of scores (B, K) and labels (B,), times a factor; computed in float32 or wider.

    Args:
        settings: the factors and the label smoothing.
        name: name of the factor: `rgb`, `pose`, `rgb_coarse` or `pose_coarse`.
        scores: (B, K) float.
        labels: (B,) int64.

    Raises:
        ValueError: labels are not (B,).
    """
    if labels.shape != scores.shape[:1]:
        raise ValueError(f"labels must be ({len(scores)},), got {tuple(labels.shape)}")
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    factor: float = getattr(settings, name)
    return factor * functional.cross_entropy(scores, labels, label_smoothing=settings.label_smoothing)
