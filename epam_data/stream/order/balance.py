"""Balanced epochs: how often each sample appears in an epoch, to give each class the share set in the recipe.

The N entries of an epoch are divided among the classes: class c gets q_c entries, and the q_c add up to N. The n_c
samples of the class are numbered in storage order, and sample i appears

    floor(((i + 1) q_c + o) / n_c) - floor((i q_c + o) / n_c)     times, with o = start_c + epoch * q_c.

This is systematic sampling: imagine a ruler with a mark every n_c, along samples that are q_c long each. It needs only
the counts of each class in each shard, and three laws follow:

- a class has exactly q_c entries per epoch, spread evenly over its samples, and so over the shards;
- over any number of epochs, the counts of two samples of a class differ by at most one: the offset advances by q_c, so
  each epoch continues where the last one stopped;
- with q_c = n_c each sample appears once, so the plain epoch is a special case.

`EpochOrder` then shuffles entries as it shuffles samples: a shard is still read in one part of the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from epam_data.randomness import Purpose, generator


def class_quotas(counts: NDArray[np.int64], balance: str, weights: Sequence[float] = ()) -> NDArray[np.int64]:
    """Entries of each class in an epoch; they add up to the number of samples.

    Args:
        counts: (K,) samples of each class.
        balance: `none`: proportional to the counts; `class`: equal; `sqrt`: proportional to their square roots.
        weights: K factors on the shares; empty: all 1.

    Returns:
        (K,) int64; 0 for a class without samples. Entries left after rounding down go to the largest fractions.

    Raises:
        ValueError: not one weight per class, or no class with samples has a positive weight.
    """
    factors = np.array(weights or np.ones(len(counts)), np.float64)
    if len(factors) != len(counts):
        raise ValueError(f"stream.class_weights must be one for each of {len(counts)} classes, got {len(factors)}")
    power = {"none": 1.0, "sqrt": 0.5, "class": 0.0}[balance]
    shares = np.where(counts > 0, counts.astype(np.float64) ** power, 0.0) * factors
    if not shares.sum() > 0:
        raise ValueError("stream.class_weights must be > 0 for a class with samples, got none")
    exact = shares / shares.sum() * counts.sum()
    quotas: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    left = int(counts.sum() - quotas.sum())
    quotas[np.argsort(-(exact - quotas), kind="stable")[:left]] += 1
    return quotas


def balanced_samples(
    labels: NDArray[np.integer],
    shard_sizes: Sequence[int],
    num_classes: int,
    *,
    balance: str,
    weights: Sequence[float],
    seed: int,
) -> BalancedSamples | None:
    """The recipe's `BalancedSamples`, or None for plain epochs. Arguments as below.

    Raises:
        ValueError: a label is hidden or out of range, or the weights do not match the classes.
    """
    if balance == "none" and not weights:
        return None
    if not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"stream.balance needs labels in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")
    quotas = class_quotas(np.bincount(labels, minlength=num_classes), balance, weights)
    return BalancedSamples(labels, np.asarray(shard_sizes, np.int64), quotas, seed=seed)


class BalancedSamples:
    """The entries of each epoch and the sample of each entry.

    Args:
        labels: (N,) class of each sample, in storage order.
        shard_sizes: samples of each shard.
        quotas: (K,) entries of each class in an epoch.
        seed: of the experiment; chooses the samples of a class that come first.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        shard_sizes: NDArray[np.int64],
        quotas: NDArray[np.int64],
        *,
        seed: int,
    ) -> None:
        self._labels, self._quotas = labels, quotas
        self._first_sample = np.concatenate([[0], np.cumsum(shard_sizes)])
        # (shards + 1, K): samples of each class before each shard.
        self._before = np.zeros((len(shard_sizes) + 1, len(quotas)), np.int64)
        for shard in range(len(shard_sizes)):
            here = labels[self._first_sample[shard] : self._first_sample[shard + 1]]
            self._before[shard + 1] = self._before[shard] + np.bincount(here, minlength=len(quotas))
        self._counts = np.maximum(self._before[-1], 1)  # avoids division by 0; an empty class has no entries anyway
        self._start = generator(Purpose.CLASS_START, seed).integers(self._counts)
        self._kept: tuple[int, NDArray[np.int64]] | None = None  # last requested epoch and its shard ends

    def shard_sizes(self, epoch: int) -> NDArray[np.int64]:
        """Entries of each shard in an epoch; they add up to the number of samples."""
        return np.diff(self._shard_ends(epoch), prepend=0)

    def samples(self, epoch: int, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sample numbers at `entries` (n,), numbered shard by shard as in `shard_sizes`."""
        ends = self._shard_ends(epoch)
        shards = np.searchsorted(ends, entries, side="right")
        found = np.empty(len(entries), np.int64)
        for shard in np.unique(shards).tolist():
            here = shards == shard
            first = ends[shard - 1] if shard else 0
            found[here] = self._samples_of_shard(epoch, shard)[entries[here] - first]
        return found

    def _shard_ends(self, epoch: int) -> NDArray[np.int64]:
        if self._kept is None or self._kept[0] != epoch:
            by_class = self._entries_before(epoch, self._before, slice(None))
            self._kept = (epoch, (by_class[1:] - by_class[0]).sum(axis=1))
        return self._kept[1]

    def _samples_of_shard(self, epoch: int, shard: int) -> NDArray[np.int64]:
        """The samples of a shard in storage order, each repeated as often as it appears in the epoch."""
        samples = np.arange(self._first_sample[shard], self._first_sample[shard + 1])
        labels = self._labels[samples]
        number = np.empty(len(samples), np.int64)  # of each sample within its class
        for label in np.unique(labels).tolist():
            own = labels == label
            number[own] = self._before[shard, label] + np.arange(own.sum())
        times = self._entries_before(epoch, number + 1, labels) - self._entries_before(epoch, number, labels)
        return np.repeat(samples, times)

    def _entries_before(
        self, epoch: int, number: NDArray[np.int64], labels: NDArray[np.integer] | slice
    ) -> NDArray[np.int64]:
        """Marks of the ruler before sample `number` of a class; differences of this count entries."""
        counts, quotas = self._counts[labels], self._quotas[labels]
        offset = (self._start[labels] + epoch * quotas) % counts
        before: NDArray[np.int64] = (number * quotas + offset) // counts
        return before
