"""The order of an epoch: a pure function of (shard sizes, seed, epoch).

Shards are permuted, taken in windows of a few, and the samples of a window are permuted. So a position of the epoch is
resolved with the memory of one window, a shard is read in one stretch of the epoch, and nothing depends on ranks or
workers: position p simply belongs to rank p mod world. The state of a stream is one number, the samples consumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from epam_data.randomness import Purpose, generator


class EpochOrder:
    """Which sample stands at which position of an epoch.

    Args:
        shard_sizes: samples of each shard. Sample numbers count through the shards in this order.
        seed: of the experiment.
        epoch: from 0.
        window_shards: shards whose samples mix; more mix better and touch more files at a time.
    """

    def __init__(
        self,
        shard_sizes: Sequence[int],
        *,
        seed: int,
        epoch: int,
        window_shards: int = 16,
    ) -> None:
        if window_shards < 1:
            raise ValueError(f"window_shards must be >= 1, got {window_shards}")
        sizes = np.asarray(shard_sizes, np.int64)
        self._key = (seed, epoch)
        self._window_shards = window_shards
        self._first_sample = np.concatenate([[0], np.cumsum(sizes)])  # of each shard, in storage order
        self._shards = generator(Purpose.SHARD_ORDER, *self._key).permutation(len(sizes))
        # Where each window starts in the epoch.
        permuted = np.concatenate([[0], np.cumsum(sizes[self._shards])])
        self._window_start = np.append(permuted[:-1:window_shards], permuted[-1])
        self._window = lru_cache(maxsize=2)(self._permute_window)

    def __len__(self) -> int:
        return int(self._first_sample[-1])

    def samples(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sample numbers at `positions` (n,) of the epoch."""
        windows = np.searchsorted(self._window_start, positions, side="right") - 1
        return np.array(
            [
                self._window(int(window))[position - self._window_start[window]]
                for window, position in zip(windows, positions, strict=True)
            ],
            np.int64,
        )

    def _permute_window(self, window: int) -> NDArray[np.int64]:
        shards = self._shards[window * self._window_shards : (window + 1) * self._window_shards]
        samples = np.concatenate(
            [np.arange(self._first_sample[shard], self._first_sample[shard + 1]) for shard in shards]
        )
        return generator(Purpose.WINDOW_ORDER, *self._key, window).permutation(samples)


def training_positions(step: int, global_batch: int, rank: int, world: int) -> NDArray[np.int64]:
    """Positions of the epoch that `rank` takes in `step`: those p of the global batch with p mod world = rank."""
    start = step * global_batch
    return np.arange(start + rank, start + global_batch, world, dtype=np.int64)


def evaluation_positions(num_samples: int, batch: int, rank: int, world: int) -> list[NDArray[np.int64]]:
    """Batches of positions for `rank`: over all ranks each position once, nothing padded."""
    mine = np.arange(rank, num_samples, world, dtype=np.int64)
    return [mine[start : start + batch] for start in range(0, len(mine), batch)]
