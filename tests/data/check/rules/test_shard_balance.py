import numpy as np
import pytest
import scipy.stats

from epam_data.check.rules import shard_balance as module
from epam_data.check.rules.shard_balance import NUM_DRAWS, Balance, shard_balance


def clips(num_clips: int, per_shard: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Shards and sorted labels: the worst order."""
    return np.arange(num_clips) // per_shard, np.arange(num_clips) * num_classes // num_clips


@pytest.mark.parametrize(("num_clips", "per_shard", "num_classes"), [(180, 30, 6), (60, 12, 6), (2000, 100, 60)])
def test_sorted_clips_are_found_and_shuffled_ones_are_not(num_clips: int, per_shard: int, num_classes: int):
    shard, label = clips(num_clips, per_shard, num_classes)
    balance = shard_balance(shard, label)
    assert balance is not None and balance.badly_shuffled
    assert balance.p_value == 1 / 1000
    assert balance.count == ((shard == balance.shard) & (label == balance.label)).sum() > balance.wanted
    for seed in range(10):
        shuffled = shard_balance(shard, np.random.default_rng(seed).permutation(label))
        assert shuffled is not None and not shuffled.badly_shuffled


def test_half_sorted_clips_are_found():
    shard, label = clips(600, 60, 6)
    rng = np.random.default_rng(0)
    some = rng.random(600) < 0.5
    label[some] = rng.permutation(label[some])
    assert shard_balance(shard, label).badly_shuffled


def test_the_p_value_is_uniform_over_shuffled_sets():
    """So that the stated false-alarm rate is the true one; 200 sets, each with its own draws."""
    shard, label = clips(60, 12, 6)
    rng = np.random.default_rng(1)
    p_values = [shard_balance(shard, rng.permutation(label), seed).p_value for seed in range(200)]
    for share in (0.1, 0.5, 0.9):
        below = np.mean(np.array(p_values) <= share)
        assert abs(below - share) < 4 * np.sqrt(share * (1 - share) / 200)


def test_the_expected_statistic_is_the_known_one():
    """Of a table with fixed sums: N / (N - 1) times the degrees of freedom."""
    shard, label = clips(180, 30, 6)
    balance = shard_balance(shard, np.random.default_rng(0).permutation(label))
    assert balance.expected == pytest.approx(180 / 179 * 25, abs=4 * balance.deviation / np.sqrt(NUM_DRAWS))


def test_nothing_to_shuffle():
    assert shard_balance(np.zeros(5, int), np.arange(5)) is None
    assert shard_balance(np.arange(5), np.zeros(5, int)) is None
    assert shard_balance(np.zeros(0, int), np.zeros(0, int)) is None
    assert shard_balance(np.array([3, 3, 7, 7]), np.array([5, 9, 5, 9])) is not None  # two of each are enough


def test_too_few_clips_never_raise_an_alarm():
    shard, label = clips(6, 1, 6)  # each shard has one clip: any order is a shuffled one
    assert not shard_balance(shard, label).badly_shuffled


def test_large_tables_are_drawn_in_blocks(monkeypatch):
    """As many draws in all, and none twice: their mean is as sure as that of one block."""
    shard, label = clips(180, 30, 6)
    monkeypatch.setattr(module, "_BLOCK_CELLS", 100 * 36)
    balance = shard_balance(shard, label)
    assert balance.p_value == 1 / (NUM_DRAWS + 1) and balance.badly_shuffled
    assert balance.expected == pytest.approx(180 / 179 * 25, abs=4 * balance.deviation / np.sqrt(NUM_DRAWS))


def test_the_class_that_a_shard_has_too_many_of_is_named():
    """Shard 2 has all of the rare class 1, and a little more than its share of class 0."""
    label = np.zeros(300, int)
    label[200:220] = 1
    balance = shard_balance(np.arange(300) // 100, label)
    assert (balance.shard, balance.label, balance.count, balance.wanted) == (2, 1, 20, pytest.approx(20 / 3))


def test_an_alarm_needs_the_rarest_table_and_six_deviations():
    known = {"expected": 10.0, "deviation": 2.0, "shard": 0, "label": 0, "count": 9, "wanted": 3.0}
    for statistic, p_value, bad in ((22.1, 0.001, True), (22.0, 0.001, False), (90.0, 0.002, False)):
        assert Balance(statistic=statistic, p_value=p_value, **known).badly_shuffled == bad


@pytest.mark.parametrize(
    ("cells", "sizes"), [(None, [999]), (100 * 36, [100] * 9 + [99]), (999 * 36, [999]), (1, [1] * 999)]
)
def test_tables_are_drawn_in_blocks_that_fit_into_32_megabytes(
    cells: int | None, sizes: list[int], monkeypatch: pytest.MonkeyPatch
):
    assert module._BLOCK_CELLS * 8 == 32_000_000 and NUM_DRAWS == 999
    drawn, random_table = [], scipy.stats.random_table

    class Recorded:
        def __init__(self, *sums, seed):
            self.tables = random_table(*sums, seed=seed)

        def rvs(self, size):
            drawn.append(size)
            return self.tables.rvs(size=size)

    monkeypatch.setattr(scipy.stats, "random_table", Recorded)
    if cells is not None:
        monkeypatch.setattr(module, "_BLOCK_CELLS", cells)
    assert shard_balance(*clips(180, 30, 6)).badly_shuffled
    assert drawn == sizes


def test_the_seed_chooses_the_shuffled_sets():
    shard, label = clips(60, 12, 6)
    assert shard_balance(shard, label) == shard_balance(shard, label, seed=0)
    assert shard_balance(shard, label).expected != shard_balance(shard, label, seed=1).expected


def test_the_evenest_table_is_as_even_as_any():
    assert shard_balance(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])).p_value == 1


def test_the_named_shard_has_more_of_the_class_than_its_share():
    """However small the excess is."""
    label = np.array([0, 1] * 50)
    label[0] = 1
    balance = shard_balance(np.arange(100) // 50, label)
    assert (balance.count, balance.wanted) in ((26, 25.5), (25, 24.5))
