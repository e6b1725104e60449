"""Measures of predictions: exact counts over labelled clips, the same however many ranks predicted them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

TOP = (1, 5)

BEST = ("top1_fused", "top1_rgb", "top1_pose")
"""What the best checkpoint goes by: the first of these that was measured."""


def measure(logits: Mapping[str, Tensor], labels: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy of each stream and of their fusions.

    Args:
        logits: (N, K) float of each stream, `rgb` or `pose` or both.
        labels: (N,) int64; clips with a hidden label (-1) count nowhere.

    Returns:
        `top1_fused`, `top5_fused` (mean of both softmax outputs), `top1_rgb`, ..., `top1_pose`, ...,
        `top1_logit_sum`, ... (EPAM-Net's published fusion), each in 0 ... 1; a fusion needs both streams. Empty if
        every label is hidden: no score is given then.

    Raises:
        ValueError: labels and logits do not fit, or a label is no class.
    """
    known = labels >= 0
    num_known = int(known.sum())
    if num_known == 0:
        return {}
    return {
        f"top{k}_{name}": int((rank_of_label(scores[known], labels[known]) < k).sum()) / num_known
        for name, scores in score_tables(logits).items()
        for k in TOP
    }


def score_tables(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores (N, K) float64 by which classes are ranked: those of the fusions and of each stream."""
    streams = {name: scores.double() for name, scores in logits.items()}
    if len(streams) == 1:
        return streams
    return {
        "fused": mean_probability(streams),
        **streams,
        "logit_sum": torch.stack(tuple(streams.values())).sum(dim=0),
    }


def mean_probability(logits: Mapping[str, Tensor]) -> Tensor:
    """The mean over streams, 1:1, of softmax over classes: (N, K) float64."""
    return torch.stack([scores.double().softmax(dim=1) for scores in logits.values()]).mean(dim=0)


def rank_of_label(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes stand before the label: those with a higher score, or the same and a lower number.

    Unlike a sort, this leaves nothing open for equal scores: constant scores do not count as right everywhere.

    Args:
        scores: (N, K).
        labels: (N,) int64 in 0 ... K - 1.

    Raises:
        ValueError: shapes do not fit, a label is no class, or a score is not finite.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"scores and labels must be (N, K) and (N,), got {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    num_classes = scores.shape[1]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")
    if not scores.isfinite().all():  # no comparison with NaN is true: it would rank first
        raise ValueError("scores must be finite, got NaN or infinity")
    own = scores.gather(1, labels[:, None])
    lower_number = torch.arange(num_classes, device=scores.device) < labels[:, None]
    return ((scores > own) | ((scores == own) & lower_number)).sum(dim=1)


def best_name(measures: Mapping[str, float]) -> str:
    """The measure that the best checkpoint goes by, of those that there are.

    Raises:
        ValueError: there is none, since no label is known.
    """
    for name in BEST:
        if name in measures:
            return name
    raise ValueError(f"none of {', '.join(BEST)} was measured: every label is hidden")
