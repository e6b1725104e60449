"""The best evaluation of a run so far, by one measure, and when there has been none for too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from epam_model.evaluate.metrics import best_name, measure


@dataclass(frozen=True, kw_only=True)
class Best:
    """The highest value of a measure; of equal ones the first."""

    score: float | None = None
    """None: nothing was evaluated yet."""
    epoch: int = 0
    """The epoch that it is of, from 1."""

    def after(self, score: float, epoch: int) -> Best:
        """The best once an epoch was evaluated: this one, or a new one."""
        return Best(score=score, epoch=epoch) if self.score is None or score > self.score else self

    def is_stale(self, epoch: int, patience: int) -> bool:
        """Whether the last `patience` of `epoch` epochs brought no new best; never with patience 0."""
        return bool(patience) and epoch - self.epoch >= patience


def measure_name(wanted: str, measures: Mapping[str, float]) -> str:
    """The measure that the best goes by: the wanted one; empty: the usual one.

    Raises:
        ValueError: there is no such measure.
    """
    if wanted and wanted not in measures:
        raise ValueError(f"train.best_by must be one of {', '.join(measures)}, got {wanted!r}")
    return wanted or best_name(measures)


def check_measure(wanted: str, streams: str, coarse_of: Sequence[int]) -> None:
    """Refuse, before anything is trained, a measure that evaluations of a model will not give.

    Args:
        wanted: as in `measure_name`.
        streams: `both`, or the one that the model has.
        coarse_of: coarse group of each class of the data set; empty: it has none.

    Raises:
        ValueError: there is no such measure.
    """
    parts = ("rgb", "pose") if streams == "both" else (streams,)
    logits = {part: torch.zeros(1, max(len(coarse_of), 1)) for part in parts}
    measure_name(wanted, measure(logits, torch.zeros(1, dtype=torch.int64), coarse_of))
