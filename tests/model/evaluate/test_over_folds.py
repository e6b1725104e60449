import numpy as np
import pytest
from scipy import stats

from epam_model.evaluate.over_folds import FoldHits, over_folds


def fold(groups: list[int], **hits: list[int]) -> FoldHits:
    return FoldHits(groups=np.array(groups), hits={name: np.array(each, bool) for name, each in hits.items()})


def test_each_person_counts_once() -> None:
    found = over_folds(
        [fold([1, 1, 1, 1, 2], rgb=[1, 1, 1, 1, 0], pose=[0] * 5), fold([3, 3], rgb=[1, 0], pose=[1, 1])]
    )
    rgb = found["rgb"]
    assert (rgb.top1, rgb.num_groups) == (0.5, 3) and rgb.folds == pytest.approx((0.8, 0.5))
    assert found["pose"].top1 == pytest.approx(1 / 3) and found["pose"].folds == (0, 1)


def test_the_interval_is_students() -> None:
    hits = [1, 1, 0, 1, 1, 1, 0, 1, 1, 1]
    found = over_folds([fold([1, 1, 2, 2, 3, 3, 4, 4, 5, 5], rgb=hits)])["rgb"]
    shares = [1, 0.5, 1, 0.5, 1]
    low, high = stats.t.interval(0.95, 4, np.mean(shares), stats.sem(shares))
    assert found.low == pytest.approx(low) and found.high == pytest.approx(min(high, 1))


def test_the_interval_stays_between_0_and_1_and_of_one_person_is_none() -> None:
    wide = over_folds([fold([1, 2], rgb=[1, 0])])["rgb"]
    assert (wide.low, wide.high) == (0, 1)
    alone = over_folds([fold([1, 1], rgb=[1, 0])])["rgb"]
    assert (alone.low, alone.top1, alone.high) == (0.5, 0.5, 0.5)
