"""The order of an epoch: the cost of a resume in a huge set, and how well the windowed order shuffles.

    python -m benchmarks.order

Writes two tables. `order_resume`: seconds and memory to find the samples of the next global batch at sample 10^7 of
10^8, in a new order. `order`: shuffle quality over two epochs, for sets of the sizes of NTU60 and MA-52, with shards as
the build writes them (samples in random order) and with shards sorted by class, which is the worst case:

- position correlation: |correlation| of the positions of a sample in storage and in the epoch;
- class runs: mean length of a run of one class;
- same batch: mean share of the most frequent class in a batch of 32;
- neighbours again: share of the pairs of samples at most 16 apart in one epoch that are also so in the next.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import webdataset as wds
from numpy.typing import NDArray

from benchmarks.measure import publish, seconds_per_call
from epam_data.stream.order.order import EpochOrder

Ints = NDArray[np.int64]
SHARD, NEIGHBOURS, BATCH = 250, 16, 32
SETS = {"NTU60": np.full(60, 668), "MA-52": np.geomspace(6, 1283, 52).astype(int)}
"""Samples of each class: equal, and as unequal as MA-52's (6 to 1,283)."""


def windowed(sizes: Ints, epoch: int, window_shards: int = 16) -> Ints:
    """Our order."""
    order = EpochOrder(sizes, seed=0, epoch=epoch, window_shards=window_shards)
    return order.samples(np.arange(len(order)))


def permuted(sizes: Ints, epoch: int) -> Ints:
    """A full permutation."""
    return np.random.default_rng((1, epoch)).permutation(int(sizes.sum()))


def shuffled_by_webdataset(sizes: Ints, epoch: int) -> Ints:
    """The order from the filters of webdataset: shards by `shuffle(100)`, samples by `shuffle(1000)`."""
    first = np.concatenate([[0], np.cumsum(sizes)])

    def samples_of(shards: Iterator[int]) -> Iterator[int]:
        for shard in shards:
            yield from range(first[shard], first[shard + 1])

    shards = wds.filters.shuffle(bufsize=100, rng=random.Random(2 * epoch))(iter(range(len(sizes))))
    samples = wds.filters.shuffle(bufsize=1000, rng=random.Random(2 * epoch + 1))(samples_of(shards))
    return np.fromiter(samples, np.int64)


ORDERS: dict[str, Callable[[Ints, int], Ints]] = {
    "windows of 16 shards": windowed,
    "windows of 64 shards": lambda sizes, epoch: windowed(sizes, epoch, 64),
    "full permutation": permuted,
    "webdataset 1000": shuffled_by_webdataset,
}


def position_correlation(order: Ints) -> float:
    """0: the position in the epoch is independent of the position in storage; 1: it is determined by it."""
    return abs(float(np.corrcoef(order, np.arange(len(order)))[0, 1]))


def mean_run(labels: Ints) -> float:
    """Mean length of the runs of one class."""
    return len(labels) / (1 + int(np.count_nonzero(np.diff(labels))))


def largest_share(labels: Ints) -> float:
    """Mean over batches of the share of their most frequent class."""
    batches = labels[: len(labels) // BATCH * BATCH].reshape(-1, BATCH)
    return float(np.mean([np.bincount(batch).max() / BATCH for batch in batches]))


def neighbours_again(one: Ints, other: Ints) -> float:
    """Share of the neighbours in one epoch that are neighbours in the other."""
    position = np.empty(len(other), np.int64)
    position[other] = np.arange(len(other))
    there = position[one]
    near = [np.abs(there[apart:] - there[:-apart]) <= NEIGHBOURS for apart in range(1, NEIGHBOURS + 1)]
    return float(np.concatenate(near).mean())


def quality_rows() -> Iterator[dict[str, object]]:
    """Each order on each set, stored in random order and sorted by class; means over 6 epochs."""
    for dataset, counts in SETS.items():
        by_class = np.repeat(np.arange(len(counts)), counts)
        sizes = np.full(-(-len(by_class) // SHARD), SHARD)
        sizes[-1] -= sizes.sum() - len(by_class)
        for storage in ("random", "by class"):
            labels = np.random.default_rng(0).permutation(by_class) if storage == "random" else by_class
            for name, make in ORDERS.items():
                epochs = [make(sizes, epoch) for epoch in range(6)]
                assert all(np.array_equal(np.sort(epoch), np.arange(len(labels))) for epoch in epochs), name
                yield {
                    "set": dataset,
                    "storage": storage,
                    "order": name,
                    "position correlation": float(np.mean([position_correlation(epoch) for epoch in epochs])),
                    "class runs": float(np.mean([mean_run(labels[epoch]) for epoch in epochs])),
                    "same batch": float(np.mean([largest_share(labels[epoch]) for epoch in epochs])),
                    "neighbours again": float(
                        np.mean([neighbours_again(*epochs[i : i + 2]) for i in range(len(epochs) - 1)])
                    ),
                }


def resume_rows() -> Iterator[dict[str, object]]:
    """The start of an order at sample 10^7 of 10^8, for several shard sizes."""
    for shard_size in (250, 1_000, 10_000):
        sizes = np.full(10**8 // shard_size, shard_size)

        def resume(sizes: Ints = sizes) -> Ints:
            return EpochOrder(sizes, seed=0, epoch=3).samples(np.arange(10**7, 10**7 + 256))

        tracemalloc.start()
        start = time.perf_counter()
        resume()
        first = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        yield {
            "samples": 10**8,
            "resumed at": 10**7,
            "samples per shard": shard_size,
            "window": 16 * shard_size,
            "seconds": seconds_per_call(resume),
            "seconds, first call, traced": first,
            "peak MB": peak / 1e6,
        }


def main() -> None:
    """Both tables."""
    publish("order_resume", list(resume_rows()))
    publish("order", list(quality_rows()))


if __name__ == "__main__":
    main()
