"""Balanced epochs: how often each sample comes in an epoch, so that classes get the shares that a recipe asks for.

An epoch of N samples is shared out over the classes: class c gets q_c entries, the q_c add up to N. Its n_c samples are
numbered in storage order, and sample i of the class comes

    floor(((i + 1) q_c + o) / n_c) - floor((i q_c + o) / n_c)     times, with o = start_c + epoch * q_c.

This is systematic sampling: think of a ruler with a mark every n_c, laid along samples that are q_c long each. It gives
three laws, with nothing to remember but the counts of each class in each shard:

- the entries of a class in an epoch are exactly q_c, spread evenly over its samples, and so over the shards;
- in any number of epochs, two samples of a class differ by at most one in how often they came: the offset moves by what
  an epoch takes, so that an epoch goes on where the last one stopped;
- with q_c = n_c each sample comes once: the plain epoch is the special case.

`EpochOrder` then shuffles the entries as it shuffles samples: a shard still is read in one stretch of the epoch.
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
        balance: `none`: shares as the counts; `class`: equal shares; `sqrt`: as the square roots of the counts.
        weights: K factors on the shares; empty: all 1.

    Returns:
        (K,) int64; 0 for a class without samples. Fractions of entries go to the classes with the largest of them.

    Raises:
        ValueError: the weights are not one for each class, or leave no class.
    """
    factors = np.array(weights or np.ones(len(counts)), np.float64)
    if len(factors) != len(counts):
        raise ValueError(f"stream.class_weights must be one for each of {len(counts)} classes, got {len(factors)}")
    power = {"none": 1.0, "sqrt": 0.5, "class": 0.0}[balance]
    shares = np.where(counts > 0, counts.astype(np.float64) ** power, 0.0) * factors
    if not shares.sum() > 0:
        raise ValueError("stream.class_weights must leave a class that has samples, got none")
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
    """What a recipe asks for; None: the plain epoch. Arguments as below.

    Raises:
        ValueError: a label is hidden or no class, or the weights do not fit the classes.
    """
    if balance == "none" and not weights:
        return None
    if not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"stream.balance needs labels in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")
    quotas = class_quotas(np.bincount(labels, minlength=num_classes), balance, weights)
    return BalancedSamples(labels, np.asarray(shard_sizes, np.int64), quotas, seed=seed)


class BalancedSamples:
    """The entries of each epoch and the sample that stands in each.

    Args:
        labels: (N,) class of each sample, in storage order.
        shard_sizes: samples of each shard.
        quotas: (K,) entries of each class in an epoch.
        seed: of the experiment: which samples of a class come first.
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
        # Samples of each class in front of each shard: (shards + 1, K). All that is kept besides the labels.
        self._before = np.zeros((len(shard_sizes) + 1, len(quotas)), np.int64)
        for shard in range(len(shard_sizes)):
            here = labels[self._first_sample[shard] : self._first_sample[shard + 1]]
            self._before[shard + 1] = self._before[shard] + np.bincount(here, minlength=len(quotas))
        self._counts = np.maximum(self._before[-1], 1)  # a class without samples has no entries: no division by 0
        self._start = generator(Purpose.CLASS_START, seed).integers(self._counts)
        self._kept: tuple[int, NDArray[np.int64]] | None = None  # the epoch asked for last: where its shards end

    def shard_sizes(self, epoch: int) -> NDArray[np.int64]:
        """Entries that each shard fills in an epoch; they add up to the number of samples."""
        return np.diff(self._shard_ends(epoch), prepend=0)

    def samples(self, epoch: int, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sample numbers at `entries` (n,), which count through the shards as `shard_sizes` says."""
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
            by_class = self._places_before(epoch, self._before, slice(None))
            self._kept = (epoch, (by_class[1:] - by_class[0]).sum(axis=1))
        return self._kept[1]

    def _samples_of_shard(self, epoch: int, shard: int) -> NDArray[np.int64]:
        """The samples of a shard in storage order, each as often as it comes in the epoch."""
        samples = np.arange(self._first_sample[shard], self._first_sample[shard + 1])
        labels = self._labels[samples]
        number = np.empty(len(samples), np.int64)  # of each sample inside its class
        for label in np.unique(labels).tolist():
            own = labels == label
            number[own] = self._before[shard, label] + np.arange(own.sum())
        times = self._places_before(epoch, number + 1, labels) - self._places_before(epoch, number, labels)
        return np.repeat(samples, times)

    def _places_before(
        self, epoch: int, number: NDArray[np.int64], labels: NDArray[np.integer] | slice
    ) -> NDArray[np.int64]:
        """How many marks of the ruler lie before sample `number` of a class; differences of it count entries."""
        counts, quotas = self._counts[labels], self._quotas[labels]
        offset = (self._start[labels] + epoch * quotas) % counts
        before: NDArray[np.int64] = (number * quotas + offset) // counts
        return before
