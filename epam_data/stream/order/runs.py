"""Rows of an index, kept as runs of consecutive numbers: a split of millions of samples is often a single run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Runs:
    """Increasing row numbers; takes memory for each run instead of each row.

    Args:
        rows: (N,) int64, increasing.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self._starts: NDArray[np.int64] = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # place of each run's first
        self._first = rows[self._starts]
        self._length = len(rows)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows at places (n,) in 0 ... N - 1."""
        run = np.searchsorted(self._starts, places, side="right") - 1
        rows: NDArray[np.int64] = self._first[run] + places - self._starts[run]
        return rows
