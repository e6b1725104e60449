"""Balanced epochs: each class has exactly its share, and no sample of a class is ahead of another by more than one."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from epam_data.stream.order.balance import BalancedSamples, balanced_samples, class_quotas

SETS = st.lists(st.lists(st.integers(0, 4), max_size=12), min_size=1, max_size=6).filter(any)
"""The labels of each shard."""

MA52_LIKE = np.array([1283, 6, 40, 216, 700, 11, 300, 0])


def flat(shards: list[list[int]]) -> np.ndarray:
    return np.array([label for labels in shards for label in labels], np.int32)


def balanced(shards: list[list[int]], quotas: np.ndarray, seed: int = 0) -> BalancedSamples:
    sizes = np.array([len(labels) for labels in shards])
    return BalancedSamples(flat(shards), sizes, quotas, seed=seed)


def times_of(samples: BalancedSamples, num_samples: int, epoch: int) -> np.ndarray:
    """How often each sample comes in an epoch."""
    places = np.arange(samples.shard_sizes(epoch).sum())
    return np.bincount(samples.samples(epoch, places), minlength=num_samples)


@settings(deadline=None)
@given(shards=SETS, weights=st.lists(st.floats(0, 9), min_size=5, max_size=5), seed=st.integers(0, 99), data=st.data())
def test_the_three_laws(shards: list[list[int]], weights: list[float], seed: int, data: st.DataObject) -> None:
    labels = flat(shards)
    counts = np.bincount(labels, minlength=5)
    assume(sum(w for w, n in zip(weights, counts, strict=True) if n) > 0)
    quotas = class_quotas(counts, data.draw(st.sampled_from(["none", "class", "sqrt"])), weights)
    assert quotas.sum() == len(labels) and (quotas[counts == 0] == 0).all()
    samples, total = balanced(shards, quotas, seed), np.zeros(len(labels), np.int64)
    first, epochs = data.draw(st.integers(0, 1000)), 5
    for epoch in range(first, first + epochs):
        times = times_of(samples, len(labels), epoch)
        np.testing.assert_array_equal(np.bincount(labels, weights=times, minlength=5), quotas)
        total += times
        for label in set(labels.tolist()):
            own = total[labels == label]
            assert own.max() - own.min() <= 1, "in any number of epochs"


@given(shards=SETS, epoch=st.integers(0, 50))
def test_places_belong_to_their_shard_in_any_order_of_asking(shards: list[list[int]], epoch: int) -> None:
    labels = flat(shards)
    samples = balanced(shards, class_quotas(np.bincount(labels, minlength=5), "class"))
    sizes = samples.shard_sizes(epoch)
    places = np.arange(sizes.sum())
    whole = samples.samples(epoch, places)
    shard_of = np.repeat(np.arange(len(shards)), [len(each) for each in shards])
    np.testing.assert_array_equal(shard_of[whole], np.repeat(np.arange(len(shards)), sizes))
    mixed = np.random.default_rng(epoch).permutation(places)
    samples.samples(epoch + 1, places[:0])
    np.testing.assert_array_equal(samples.samples(epoch, mixed), whole[mixed])


def test_without_balance_each_sample_comes_once() -> None:
    shards = [[0, 1, 1, 4], [2, 0], [], [1, 4, 4]]
    counts = np.bincount(flat(shards), minlength=5)
    np.testing.assert_array_equal(class_quotas(counts, "none"), counts)
    for epoch in range(3):
        np.testing.assert_array_equal(times_of(balanced(shards, counts), 9, epoch), np.ones(9))


def test_quotas_by_hand() -> None:
    """2556 places: seven classes with samples have 365.14 each; the first gets the place that is left."""
    assert class_quotas(MA52_LIKE, "class").tolist() == [366, 365, 365, 365, 365, 365, 365, 0]
    assert class_quotas(MA52_LIKE, "none", (1, 1, 1, 1, 1, 1, 1, 5)).tolist() == MA52_LIKE.tolist()
    assert class_quotas(np.array([90, 10]), "sqrt").tolist() == [75, 25]
    assert class_quotas(np.array([90, 10]), "none", (1, 9)).tolist() == [50, 50]
    assert class_quotas(np.array([90, 10]), "class", (0, 1)).tolist() == [0, 100]


def test_a_class_is_spread_over_the_shards() -> None:
    """A tenth of a class in an epoch: about as much of it from each shard, not all from the first."""
    shards = [[0] * 100 + [1] * 10 for _ in range(20)]
    quotas = class_quotas(np.array([2000, 200]), "none", (1, 90))
    assert quotas.tolist() == [220, 1980]
    for epoch in range(3):
        times = times_of(balanced(shards, quotas), 2200, epoch).reshape(20, 110)
        assert (times[:, :100].sum(axis=1) == 11).all() and (times[:, 100:].sum(axis=1) == 99).all()


def test_epochs_go_on_where_the_last_one_stopped_and_seeds_differ() -> None:
    quotas = class_quotas(np.array([40, 10]), "class")
    shards = [[0] * 40 + [1] * 10]
    first = [times_of(balanced(shards, quotas), 50, epoch)[:40] for epoch in (0, 1)]
    assert not np.array_equal(*first)
    assert len({tuple(times_of(balanced(shards, quotas, seed), 50, 0)) for seed in range(20)}) > 1


def test_balanced_epochs_stay_what_they_were() -> None:
    """A run that is resumed after an upgrade must see the same samples."""
    samples = balanced([[0, 1, 0], [0, 1, 0, 0]], np.array([2, 5]), seed=3)
    assert [samples.samples(epoch, np.arange(7)).tolist() for epoch in range(3)] == [
        [0, 1, 1, 3, 4, 4, 4],
        [1, 1, 1, 2, 4, 4, 6],
        [0, 1, 1, 4, 4, 4, 5],
    ]


def test_huge_sets_stay_in_their_integers() -> None:
    """The last sample of 10^8 in the last of many epochs."""
    samples = balanced([[0, 1]], np.array([1, 1]))
    samples._counts = samples._quotas = np.array([10**8, 10**8])
    samples._start = np.array([10**8 - 1, 5])
    assert samples._entries_before(10**4, np.array([10**8]), np.array([0])).item() == 10**8


@pytest.mark.parametrize(
    ("labels", "balance", "weights", "message"),
    [
        ([0, -1], "class", (), "stream.balance needs labels in 0..2, got -1..0"),
        ([0, 3], "sqrt", (), "stream.balance needs labels in 0..2, got 0..3"),
        ([0, 1], "none", (1.0, 2.0), "stream.class_weights must be one for each of 3 classes, got 2"),
        ([0, 1], "class", (0.0, 0.0, 1.0), "stream.class_weights must be > 0 for a class with samples, got none"),
    ],
)
def test_what_is_refused(labels: list[int], balance: str, weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        balanced_samples(np.array(labels), [2], 3, balance=balance, weights=weights, seed=0)


def test_the_plain_epoch_needs_no_labels() -> None:
    assert balanced_samples(np.array([-1, -1]), [2], 3, balance="none", weights=(), seed=0) is None
