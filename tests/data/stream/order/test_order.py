"""Laws of the epoch order: a permutation, shard by shard in windows, the same whatever the ranks."""

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epam_data.stream.order.order import EpochOrder, evaluation_positions, evaluation_steps, training_positions

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(sum)
SEEDS = st.integers(0, 2**40)


def order_of(sizes: list[int], **settings: int) -> np.ndarray:
    order = EpochOrder(sizes, **{"seed": 0, "epoch": 0, "window_shards": 3, **settings})
    return order.samples(np.arange(len(order)))


@settings(deadline=None)
@given(sizes=SIZES, seed=SEEDS, epoch=st.integers(0, 1000), window=st.integers(1, 15))
def test_an_epoch_is_a_permutation(sizes: list[int], seed: int, epoch: int, window: int) -> None:
    samples = order_of(sizes, seed=seed, epoch=epoch, window_shards=window)
    assert samples.dtype == np.int64
    assert sorted(samples.tolist()) == list(range(sum(sizes)))
    assert len(EpochOrder(sizes, seed=seed, epoch=epoch)) == sum(sizes)


@settings(deadline=None)
@given(sizes=SIZES, seed=SEEDS, window=st.integers(1, 15), data=st.data())
def test_any_positions_in_any_order_give_the_same_samples(
    sizes: list[int], seed: int, window: int, data: st.DataObject
) -> None:
    whole = order_of(sizes, seed=seed, window_shards=window)
    positions = np.array(data.draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=20)), np.int64)
    order = EpochOrder(sizes, seed=seed, epoch=0, window_shards=window)
    np.testing.assert_array_equal(order.samples(positions), whole[positions])


@settings(deadline=None)
@given(sizes=SIZES, seed=SEEDS, window=st.integers(1, 15))
def test_a_window_reads_few_shards_and_each_once(sizes: list[int], seed: int, window: int) -> None:
    """Cut into windows of whole shards, the epoch never comes back to a shard."""
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    visited = shard_of[order_of(sizes, seed=seed, window_shards=window)]
    first = {shard: np.flatnonzero(visited == shard)[0] for shard in set(visited.tolist())}
    last = {shard: np.flatnonzero(visited == shard)[-1] for shard in set(visited.tolist())}
    for position in range(len(visited)):
        assert sum(first[shard] <= position <= last[shard] for shard in first) <= window


@settings(deadline=None)
@given(sizes=SIZES, seed=SEEDS, window=st.integers(1, 15), data=st.data())
def test_all_others_may_stand_in_those_of_the_window_first(
    sizes: list[int], seed: int, window: int, data: st.DataObject
) -> None:
    order = EpochOrder(sizes, seed=seed, epoch=3, window_shards=window)
    position = data.draw(st.integers(0, sum(sizes) - 1))
    others = list(order.stand_ins(position))
    assert sorted([*others, position]) == list(range(sum(sizes)))
    ends = order._window_start
    number = int(np.searchsorted(ends, position, side="right"))
    own = set(range(ends[number - 1], ends[number])) - {position}
    assert set(others[: len(own)]) == own
    again = EpochOrder(sizes, seed=seed, epoch=3, window_shards=window)
    assert list(again.stand_ins(position)) == others


def test_stand_ins_are_spread() -> None:
    """Over the window, not all on one neighbour; others in another epoch."""
    order = EpochOrder([100] * 4, seed=0, epoch=0, window_shards=2)
    first = [next(order.stand_ins(position)) for position in range(200)]
    assert len(set(first)) > 100 and max(first) < 200
    other = EpochOrder([100] * 4, seed=0, epoch=1, window_shards=2)
    assert [next(other.stand_ins(position)) for position in range(200)] != first


def test_an_epoch_stays_what_it_was() -> None:
    """A run that is resumed after an upgrade must see the same samples, stand-ins among them."""
    order = EpochOrder([3, 2, 4, 1], seed=1, epoch=2, window_shards=2)
    assert order.samples(np.arange(10)).tolist() == [9, 4, 3, 5, 0, 6, 7, 8, 2, 1]
    assert [next(order.stand_ins(position)) for position in range(10)] == [2, 0, 0, 9, 3, 3, 7, 8, 5, 3]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), window=st.integers(1, 4), data=st.data())
def test_the_shards_of_the_rest_begin_with_the_window_of_the_position(
    sizes: list[int], window: int, data: st.DataObject
) -> None:
    order = EpochOrder(sizes, seed=4, epoch=1, window_shards=window)
    position = data.draw(st.integers(0, sum(sizes) - 1))
    shards = order.shards_from(position).tolist()
    ends = np.cumsum(sizes)
    rest = np.searchsorted(ends, order.samples(np.arange(position, sum(sizes))), side="right").tolist()
    assert rest[0] in shards[:window] and set(rest) <= set(shards) and len(set(shards)) == len(shards)
    assert len(order.shards_from(0)) == len(sizes)
    earlier = np.searchsorted(ends, order.samples(np.arange(position)), side="right").tolist()
    assert set(shards[window:]).isdisjoint(earlier), "later windows have not begun"


def test_epochs_and_seeds_differ() -> None:
    sizes = [20] * 5
    orders = [order_of(sizes, seed=seed, epoch=epoch, window_shards=2).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == order_of(sizes, seed=0, epoch=0, window_shards=2).tolist()


def test_samples_mix_within_a_window_and_windows_differ() -> None:
    visited = order_of([50] * 4, window_shards=2)
    for half in (visited[:100], visited[100:]):
        shards = half // 50
        assert len(set(shards.tolist())) == 2 and np.count_nonzero(np.diff(shards)) > 20


def test_each_window_has_a_permutation_of_its_own() -> None:
    one, other = (window % 50 for window in np.split(order_of([50] * 2, window_shards=1), 2))
    assert not np.array_equal(one, other)


def test_epochs_visit_the_shards_in_another_order() -> None:
    orders = {tuple((order_of([2] * 20, epoch=epoch, window_shards=1)[::2] // 2).tolist()) for epoch in range(4)}
    assert len(orders) == 4


def test_shards_without_samples_do_no_harm() -> None:
    for window in (1, 2, 5):
        assert sorted(order_of([0, 3, 0, 0, 2, 0], window_shards=window).tolist()) == list(range(5))


def test_the_ends_of_a_huge_set_resolve() -> None:
    order = EpochOrder(np.full(400_000, 250), seed=1, epoch=2)
    assert len(order) == 10**8
    samples = order.samples(np.array([0, 10**8 - 1, 5 * 10**7]))
    assert len(set(samples.tolist())) == 3 and samples.max() < 10**8


def test_a_window_holds_a_shard() -> None:
    with pytest.raises(ValueError, match=f"^{re.escape('window_shards must be >= 1, got 0')}$"):
        EpochOrder([3], seed=0, epoch=0, window_shards=0)


@given(per_rank=st.integers(1, 5), world=st.integers(1, 8), step=st.integers(0, 50))
def test_ranks_share_each_global_batch(per_rank: int, world: int, step: int) -> None:
    batch = per_rank * world
    each = [training_positions(step, batch, rank, world) for rank in range(world)]
    assert all(len(positions) == per_rank for positions in each)
    for rank, positions in enumerate(each):
        assert (positions % world == rank).all() or batch % world
        assert (np.diff(positions) == world).all()
    together = np.sort(np.concatenate(each))
    np.testing.assert_array_equal(together, np.arange(step * batch, (step + 1) * batch))


@given(num_samples=st.integers(0, 60), per_rank=st.integers(1, 5), world=st.integers(1, 8))
def test_evaluation_takes_each_position_once(num_samples: int, per_rank: int, world: int) -> None:
    batch = per_rank * world
    everything: list[int] = []
    for rank in range(world):
        steps = evaluation_steps(batch, rank, world, num_samples)
        each = [evaluation_positions(step, batch, rank, world, num_samples) for step in range(steps)]
        assert all(0 < len(positions) <= per_rank for positions in each), "no empty batch before the end"
        assert len(evaluation_positions(steps, batch, rank, world, num_samples)) == 0, "and none behind it"
        everything += np.concatenate([*each, np.empty(0, np.int64)]).tolist()
    assert sorted(everything) == list(range(num_samples))


# The whole matrix of ranks and loader workers, on the pure functions

WORLDS, WORKERS, BATCH = (1, 2, 3, 8), (0, 1, 3), 24
SIZES_OF_101 = [7, 20, 1, 0, 33, 12, 9, 19]


def read_epoch(world: int, workers: int, epoch: int, steps: range) -> list[list[int]]:
    """The global batches of an epoch; every worker of every rank has an order of its own and takes every n-th step."""
    batches: dict[int, list[int]] = {step: [-1] * BATCH for step in steps}
    for rank in range(world):
        for worker in range(max(workers, 1)):
            order = EpochOrder(SIZES_OF_101, seed=5, epoch=epoch, window_shards=3)
            for step in steps[worker :: max(workers, 1)]:
                positions = training_positions(step, BATCH, rank, world)
                for position, sample in zip(positions.tolist(), order.samples(positions).tolist(), strict=True):
                    batches[step][position - step * BATCH] = sample
    return [batches[step] for step in steps]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("world", WORLDS)
def test_global_batches_are_a_function_of_seed_and_epoch_alone(world: int, workers: int) -> None:
    steps = range(sum(SIZES_OF_101) // BATCH)
    for epoch in range(3):
        line = EpochOrder(SIZES_OF_101, seed=5, epoch=epoch, window_shards=3).samples(np.arange(4 * BATCH))
        batches = read_epoch(world, workers, epoch, steps)
        assert [sample for batch in batches for sample in batch] == line.tolist()
        assert len(set(line.tolist())) == 4 * BATCH, "each sample once, but for the five of the partial batch"


@pytest.mark.parametrize("before", WORLDS)
@pytest.mark.parametrize("after", WORLDS)
def test_another_number_of_ranks_continues_the_same_stream(before: int, after: int) -> None:
    """Stop behind step 2 of 4, on `before` ranks with 3 workers each; go on with `after` ranks and one worker."""
    whole = read_epoch(1, 0, 7, range(4))
    assert read_epoch(before, 3, 7, range(2)) + read_epoch(after, 1, 7, range(2, 4)) == whole


# Size


def peak_bytes_of_a_resume(num_shards: int, shard_size: int, position: int) -> int:
    sizes = np.full(num_shards, shard_size)
    tracemalloc.start()
    try:
        order = EpochOrder(sizes, seed=1, epoch=2)
        order.samples(np.arange(position, position + 64))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("num_shards", "shard_size"), [(100_000, 1_000), (400_000, 250), (4_000, 25_000)])
def test_a_resume_in_a_huge_set_takes_the_memory_of_the_shard_list_and_one_window(
    num_shards: int, shard_size: int
) -> None:
    """At sample 10^7 of 10^8, a number for each sample would take 800 MB; here it is a few for each shard."""
    assert num_shards * shard_size == 10**8
    peak = peak_bytes_of_a_resume(num_shards, shard_size, position=10**7)
    assert peak < 8 * 8 * (num_shards + 16 * shard_size) + 100_000
    assert peak < 50e6
