import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from epam_data.stream.order.runs import Runs


@given(st.sets(st.integers(0, 60)))
def test_runs_are_the_rows(chosen: set[int]) -> None:
    rows = np.array(sorted(chosen), np.int64)
    runs = Runs(rows)
    assert len(runs) == len(rows)
    places = np.arange(len(rows))
    for order in (places, places[::-1], np.repeat(places, 2), places[:0]):
        assert runs[order].tolist() == rows[order].tolist()
        assert runs[order].dtype == np.int64


def test_a_run_takes_the_memory_of_its_ends() -> None:
    rows = np.concatenate([np.arange(10, 1_000_000), np.arange(2_000_000, 3_000_000)])
    assert len(pickle.dumps(Runs(rows))) < 1000
