"""The order of an epoch: a pure function of (shard sizes, seed, epoch).

    storage      | shard 0 | shard 1 | shard 2 | shard 3 | shard 4 |
    1. permute     shard 3   shard 0   shard 4 | shard 1   shard 2      the shards
    2. cut into  [      window 0               |     window 1      ]    windows of `window_shards`
    3. permute   [ 31 02 40 30 42 01 ...       | 11 20 21 10 ...   ]    the samples inside each window

Position p in this order belongs to global batch p // batch and to rank p mod world. So nothing depends on ranks or
workers, a shard is read in one part of the epoch, and the state of a stream is one number: the samples consumed.
Resolving a position needs only the list of shards and the permutation of one window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from epam_data.randomness import Purpose, generator


class EpochOrder:
    """The sample at each position of an epoch.

    Args:
        shard_sizes: samples of each shard. Samples are numbered shard by shard in this order.
        seed: of the experiment.
        epoch: from 0.
        window_shards: shards whose samples are mixed; more shards mix better but use more files at a time.
    """

    def __init__(
        self,
        shard_sizes: Sequence[int] | NDArray[np.int64],
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
        # Start of each window in the epoch, and the end of the last.
        starts = np.concatenate([[0], np.cumsum(sizes[self._shards])])
        self._window_start = np.append(starts[:-1:window_shards], starts[-1])
        # The last resolved window: steps request increasing positions, so the next one probably needs it too.
        self._kept: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return int(self._first_sample[-1])

    def samples(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sample numbers at `positions` (n,) of the epoch."""
        windows = np.searchsorted(self._window_start, positions, side="right") - 1
        found = np.empty(len(positions), np.int64)
        for window in np.unique(windows).tolist():
            here = windows == window
            found[here] = self._window(window)[positions[here] - self._window_start[window]]
        return found

    def shards_from(self, position: int) -> NDArray[np.int64]:
        """The shards that the rest of the epoch reads, in order, starting with the window of `position`."""
        window = int(np.searchsorted(self._window_start, position, side="right")) - 1
        return self._shards[window * self._window_shards :]

    def stand_ins(self, position: int) -> Iterator[int]:
        """All other positions, in the order in which to try their samples as replacements for the one at `position`.

        Its own window comes first, from a random start: those shards are in use anyway.
        """
        window = int(np.searchsorted(self._window_start, position, side="right")) - 1
        start, end = self._window_start[window : window + 2].tolist()
        first = int(generator(Purpose.STAND_IN, *self._key, position).integers(end - start))
        own = (start + (first + step) % (end - start) for step in range(end - start))
        return (other for other in chain(own, range(end, len(self)), range(start)) if other != position)

    def _window(self, window: int) -> NDArray[np.int64]:
        """The sample numbers of one window, in the order of the epoch."""
        if self._kept is None or self._kept[0] != window:
            shards = self._shards[window * self._window_shards : (window + 1) * self._window_shards]
            samples = np.concatenate(
                [np.arange(self._first_sample[shard], self._first_sample[shard + 1]) for shard in shards]
            )
            self._kept = (window, generator(Purpose.WINDOW_ORDER, *self._key, window).permutation(samples))
        return self._kept[1]


def training_positions(step: int, global_batch: int, rank: int, world: int) -> NDArray[np.int64]:
    """Positions of `rank` in `step`: those p of the global batch with p mod world = rank."""
    start = step * global_batch
    return np.arange(start + rank, start + global_batch, world, dtype=np.int64)


def evaluation_positions(step: int, global_batch: int, rank: int, world: int, num_samples: int) -> NDArray[np.int64]:
    """Like `training_positions`, but the last global batch may be partial: nothing is dropped or padded."""
    positions = training_positions(step, global_batch, rank, world)
    return positions[positions < num_samples]


def evaluation_steps(global_batch: int, rank: int, world: int, num_samples: int) -> int:
    """Batches of `rank` in an evaluation; the last global batch may have no samples for the last ranks."""
    whole, left = divmod(num_samples, global_batch)
    return whole + (rank < left)
