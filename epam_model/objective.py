"""Logits + labels -> named, weighted loss terms; the loss is their sum."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from epam_model.heads import Logits


def loss_terms(
    logits: Logits, labels: Tensor, *, weights: Mapping[str, float], label_smoothing: float = 0.0
) -> dict[str, Tensor]:
    """The weighted cross-entropy of each stream (EPAM-Net: CE(rgb) + CE(pose), weights 1).

    Args:
        logits: of B clips and K classes.
        labels: (B,) int64 in 0 ... K - 1; a hidden label has no loss, so the caller keeps such clips out.
        weights: factor of each stream's term.
        label_smoothing: share of the target that is spread evenly over all classes.

    Returns:
        `loss_rgb` and `loss_pose`, scalars: the mean over the batch times the weight; a stream without logits has no
        term.

    Raises:
        ValueError: labels are not (B,).
    """
    terms = {}
    for stream, scores in logits.streams.items():
        if labels.shape != scores.shape[:1]:
            raise ValueError(f"labels must be ({len(scores)},), got {tuple(labels.shape)}")
        loss = functional.cross_entropy(scores, labels, label_smoothing=label_smoothing)
        terms[f"loss_{stream}"] = weights[stream] * loss
    return terms
