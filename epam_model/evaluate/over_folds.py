"""Results of cross-validation: each clip was evaluated in one fold; the mean over people, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class FoldHits:
    """Which clips of a fold's `val` were classified correctly."""

    groups: NDArray[np.int64]
    """(N,) the person (camera ...) of each clip: what the folds are cut by."""
    hits: Mapping[str, NDArray[np.bool_]]
    """Name of the scores (`fused`, `rgb` ...) -> (N,)."""


@dataclass(frozen=True, kw_only=True)
class OverFolds:
    """Top-1 accuracy of one kind of scores."""

    top1: float
    """Mean over people of their own accuracy, 0..1: each person counts once, however many clips there are."""
    low: float
    """Lower end of the 95 % interval of that mean (Student's t over people); equal to `top1` with one person."""
    high: float
    """Its upper end."""
    num_groups: int
    """People."""
    folds: tuple[float, ...]
    """Accuracy over the clips of each fold."""


def over_folds(folds: Sequence[FoldHits]) -> dict[str, OverFolds]:
    """The accuracy of each kind of scores.

    Args:
        folds: of all folds; a clip, and a person, is in one of them.
    """
    groups = np.concatenate([fold.groups for fold in folds])
    return {name: _over_groups([fold.hits[name] for fold in folds], groups) for name in folds[0].hits}


def _over_groups(hits: Sequence[NDArray[np.bool_]], groups: NDArray[np.int64]) -> OverFolds:
    every = np.concatenate(hits)
    shares = np.array([every[groups == group].mean() for group in np.unique(groups)])
    mean, count = float(shares.mean()), len(shares)
    half = 0.0
    if count > 1:
        error = float(shares.std(ddof=1)) / count**0.5
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return OverFolds(
        top1=mean,
        low=mean - half if half < mean else 0.0,
        high=min(mean + half, 1.0),
        num_groups=count,
        folds=tuple(float(fold.mean()) for fold in hits),
    )
