"""Test whether the classes are shuffled over the shards: exact for any number of clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_DRAWS = 999
"""Number of shuffled sets to compare with; the smallest p-value is 1 / 1000."""

_EXCESS = 6.0  # standard deviations of the shuffled sets' statistic
_BLOCK_CELLS = 4_000_000  # cells of random tables per block: 32 MB


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The distribution of one split's classes over its shards, compared with shuffled sets of the same sizes."""

    statistic: float  # Pearson's chi-square of the shards x classes table
    expected: float  # its mean over shuffled sets
    deviation: float  # its standard deviation over shuffled sets
    p_value: float  # share of shuffled sets at least as uneven, including the set itself
    shard: int  # row of the most uneven shard
    label: int  # column of the class that it has too many of
    count: int  # clips of that class in that shard
    wanted: float  # clips of that class expected there after a shuffle

    @property
    def badly_shuffled(self) -> bool:
        """Whether a random shuffle is too unlikely.

        If the clips were shuffled, each of the `NUM_DRAWS` + 1 tables is equally likely to be the most uneven, so this
        is true for at most 1 set in 1000, and far fewer by the second condition (6 standard deviations).
        """
        return self.p_value <= 1 / (NUM_DRAWS + 1) and self.statistic > self.expected + _EXCESS * self.deviation


def shard_balance(shard: NDArray[np.integer], label: NDArray[np.integer], seed: int = 0) -> Balance | None:
    """Test one split; None if it has a single shard or class, so nothing can be shuffled.

    Args:
        shard: (N,) shard of each clip.
        label: (N,) label of each clip, all >= 0.
        seed: of the shuffled sets.
    """
    shards, rows = np.unique(shard, return_inverse=True)
    classes, columns = np.unique(label, return_inverse=True)
    if len(shards) < 2 or len(classes) < 2:
        return None
    table = np.zeros((len(shards), len(classes)))
    np.add.at(table, (rows, columns), 1)
    sums = table.sum(axis=1), table.sum(axis=0)
    wanted = np.outer(*sums) / table.sum()
    statistic = float(((table - wanted) ** 2 / wanted).sum())

    from scipy.stats import random_table  # takes most of a second to load, and build workers import this module

    # SciPy draws tables with the same sums, with the same probabilities as shuffling the clips.
    shuffled = random_table(sums[0], sums[1], seed=np.random.default_rng(seed))
    step, draws = max(1, _BLOCK_CELLS // table.size), []
    for start in range(0, NUM_DRAWS, step):
        tables = shuffled.rvs(size=min(step, NUM_DRAWS - start))
        draws.append(((tables - wanted) ** 2 / wanted).sum(axis=(1, 2)))
    null = np.concatenate(draws)

    excess = np.where(table > wanted, (table - wanted) ** 2 / wanted, 0)
    row, column = np.unravel_index(excess.argmax(), excess.shape)
    return Balance(
        statistic=statistic,
        expected=float(null.mean()),
        deviation=float(null.std()),
        p_value=float(1 + (null >= statistic).sum()) / (NUM_DRAWS + 1),
        shard=int(shards[row]),
        label=int(classes[column]),
        count=int(table[row, column]),
        wanted=float(wanted[row, column]),
    )
