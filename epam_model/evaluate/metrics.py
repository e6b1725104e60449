"""Metrics of predictions: exact counts over labelled clips, the same for any number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

TOP = (1, 5)

BEST = ("top1_fused", "top1_rgb", "top1_pose")
"""Metrics that select the best checkpoint by default: the first of these that an evaluation has."""

FUSIONS = {"fused": (1, 1), "fused_2_1": (2, 1), "fused_1_2": (1, 2)}
"""Weights of the softmax outputs of RGB and pose in each fusion."""

LOGIT_SUM = "logit_sum"
"""EPAM-Net's published fusion: the sum of the streams' logits."""

Scores = Literal["fused", "rgb", "pose", "fused_2_1", "fused_1_2", "logit_sum"]
SCORES: tuple[str, ...] = get_args(Scores)
"""Scores that can rank the classes, see `score_tables`."""


def measure(logits: Mapping[str, Tensor], labels: Tensor, coarse_of: Sequence[int] = ()) -> dict[str, float]:
    """All metrics of each stream and of their fusions.

    Args:
        logits: (N, K) float of each stream, `rgb` or `pose` or both.
        labels: (N,) int64; clips with a hidden label (-1) are ignored.
        coarse_of: coarse group of each class; empty: no F1 scores.

    Returns:
        `<metric>_<scores>`, each in 0 ... 1. The scores are those of `score_tables`. The metrics are `top1`, `top5`;
        `mean_class`, the mean of the accuracies of the classes; and the scores of MA-52's server (its body level is our
        coarse one, its action level our fine one): `f1_macro_fine`, `f1_micro_fine`, `f1_macro_coarse`,
        `f1_micro_coarse`, and `f1_mean`, the mean of these four. Empty if every label is hidden.

    Raises:
        ValueError: labels and logits do not fit, or a label is not a class.
    """
    known = labels >= 0
    if not known.any():
        return {}
    metrics: dict[str, float] = {}
    for name, scores in score_tables(logits).items():
        rank = rank_of_label(scores[known], labels[known])
        matrix = confusion_matrix(scores[known], labels[known])
        values = {f"top{k}": int((rank < k).sum()) / len(rank) for k in TOP}
        values["mean_class"] = mean_class_accuracy(matrix)
        if coarse_of:
            values |= f1_scores(matrix, coarse_of)
        metrics |= {f"{kind}_{name}": value for kind, value in values.items()}
    return metrics


def score_tables(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores (N, K) float64 that rank the classes: those of the fusions and of each stream.

    `fused`, `fused_2_1`, `fused_1_2` (softmax outputs of RGB and pose at 1:1, 2:1, 1:2), `rgb`, `pose` and `logit_sum`;
    for a network of one stream, only that stream.
    """
    streams = {name: scores.double() for name, scores in logits.items()}
    if len(streams) == 1:
        return streams
    fused = {name: fuse(streams, *weights) for name, weights in FUSIONS.items()}
    one_to_one = fused.pop("fused")  # comes first, since it is the main result
    return {"fused": one_to_one, **streams, **fused, LOGIT_SUM: torch.stack(tuple(streams.values())).sum(dim=0)}


def fuse(streams: Mapping[str, Tensor], rgb: float, pose: float) -> Tensor:
    """The weighted mean of the softmax outputs (N, K) of the logits `rgb` and `pose`."""
    return (rgb * streams["rgb"].softmax(dim=1) + pose * streams["pose"].softmax(dim=1)) / (rgb + pose)


def probabilities(logits: Mapping[str, Tensor], scores: str = "fused") -> Tensor:
    """The probability of each class, (N, K) float64, from one of `score_tables`.

    Args:
        logits: (N, K) float of each stream.
        scores: name of the scores; for a single stream, `fused` means that stream.

    Raises:
        ValueError: there are no such scores.
    """
    tables = score_tables(logits)
    if scores == "fused" and len(tables) == 1:
        scores = next(iter(tables))
    if scores not in tables:
        raise ValueError(f"scores must be one of {', '.join(tables)}, got {scores!r}")
    return tables[scores] if scores in FUSIONS else tables[scores].softmax(dim=1)


def confusion_matrix(scores: Tensor, labels: Tensor) -> Tensor:
    """Clips by label (rows) and predicted class (columns): (K, K) int64. Among equal scores the lower class counts.

    Args:
        scores: (N, K) float.
        labels: (N,) int64 in 0 ... K - 1.
    """
    num_classes = scores.shape[1]
    cells = labels * num_classes + scores.argmax(dim=1)
    return torch.bincount(cells, minlength=num_classes**2).view(num_classes, num_classes)


def coarse_confusion(matrix: Tensor, coarse_of: Sequence[int]) -> Tensor:
    """The confusion matrix (Kc, Kc) of coarse groups: the group of a prediction is that of the predicted class."""
    groups = torch.tensor(coarse_of)
    num_groups = int(groups.max()) + 1
    coarse = matrix.new_zeros(num_groups, num_groups)
    coarse.index_put_((groups[:, None], groups[None, :]), matrix, accumulate=True)
    return coarse


def mean_class_accuracy(matrix: Tensor) -> float:
    """The mean accuracy of the classes that have clips, from a confusion matrix."""
    clips = matrix.sum(dim=1)
    return float((matrix.diagonal()[clips > 0] / clips[clips > 0].double()).mean())


def class_f1(matrix: Tensor) -> Tensor:
    """The F1 score of each class, (K,) float64; NaN for a class without clips and without predictions."""
    return 2 * matrix.diagonal() / (matrix.sum(dim=0) + matrix.sum(dim=1)).double()


def f1_scores(matrix: Tensor, coarse_of: Sequence[int]) -> dict[str, float]:
    """F1 scores of classes and of coarse groups, and their mean, as MA-52's server computes them; see `measure`."""
    values = {}
    for level, table in (("fine", matrix), ("coarse", coarse_confusion(matrix, coarse_of))):
        values[f"f1_macro_{level}"] = float(class_f1(table).nanmean())
        values[f"f1_micro_{level}"] = int(table.trace()) / int(table.sum())  # each clip has one label and one class
    return {**values, "f1_mean": sum(values.values()) / len(values)}


def rank_of_label(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes rank before the label: those with a higher score, or with the same score and a lower number.

    Unlike with a sort, equal scores have a defined order, so constant scores do not always count as right.

    Args:
        scores: (N, K).
        labels: (N,) int64 in 0 ... K - 1.

    Raises:
        ValueError: shapes do not fit, a label is not a class, or a score is not finite.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"scores and labels must be (N, K) and (N,), got {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    num_classes = scores.shape[1]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")
    if not scores.isfinite().all():  # no comparison with NaN is true, so NaN would rank first
        raise ValueError("scores must be finite, got NaN or infinity")
    own = scores.gather(1, labels[:, None])
    lower_number = torch.arange(num_classes, device=scores.device) < labels[:, None]
    return ((scores > own) | ((scores == own) & lower_number)).sum(dim=1)


def split_name(name: str) -> tuple[str, str]:
    """Splits the name of a metric into kind and scores: `top1_fused_2_1` into `top1` and `fused_2_1`.

    Any other name is returned unchanged, with empty scores.
    """
    scores = next((scores for scores in SCORES if name.endswith(f"_{scores}")), "")
    return name.removesuffix(f"_{scores}") if scores else name, scores


def best_name(metrics: Mapping[str, float]) -> str:
    """The metric that selects the best checkpoint by default.

    Raises:
        ValueError: there is none, since every label is hidden.
    """
    for name in BEST:
        if name in metrics:
            return name
    raise ValueError(f"the evaluation has none of {', '.join(BEST)}: every label is hidden")
