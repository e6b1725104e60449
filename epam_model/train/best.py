"""The best evaluation of a run so far, by one metric, and whether the last one is too long ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from epam_model.evaluate.metrics import best_name, measure


@dataclass(frozen=True, kw_only=True)
class Best:
    """The highest value of a metric so far; among equal values the first."""

    score: float | None = None
    """None: not evaluated yet."""
    epoch: int = 0
    """The epoch of that value, from 1."""

    def after(self, score: float, epoch: int) -> Best:
        """The best after the evaluation of another epoch."""
        return Best(score=score, epoch=epoch) if self.score is None or score > self.score else self

    def is_stale(self, epoch: int, patience: int) -> bool:
        """Whether the last `patience` of `epoch` epochs had no new best; with patience 0, never."""
        return bool(patience) and epoch - self.epoch >= patience


def metric_name(best_by: str, metrics: Mapping[str, float]) -> str:
    """The metric that selects the best checkpoint: `best_by`, or the default if that is empty.

    Raises:
        ValueError: there is no such metric.
    """
    if best_by and best_by not in metrics:
        raise ValueError(f"train.best_by must be one of {', '.join(metrics)}, got {best_by!r}")
    return best_by or best_name(metrics)


def check_metric(best_by: str, streams: str, coarse_of: Sequence[int]) -> None:
    """Refuse, before training begins, a metric that evaluations of a model will not have.

    Args:
        best_by: as in `metric_name`.
        streams: `both`, `rgb` or `pose`: the streams of the model.
        coarse_of: coarse group of each class of the data set; empty: it has none.

    Raises:
        ValueError: there is no such metric.
    """
    parts = ("rgb", "pose") if streams == "both" else (streams,)
    logits = {part: torch.zeros(1, max(len(coarse_of), 1)) for part in parts}
    metric_name(best_by, measure(logits, torch.zeros(1, dtype=torch.int64), coarse_of))
