"""Selections: which clips a build takes. (What a plan does otherwise is tested with the builds.)"""

import re
from pathlib import Path
from typing import Any

import pytest

from epam_data.build.ingest import temporary_store
from epam_data.build.plan import Selection, ShardTask, plan_tasks
from epam_data.readers import RawSettings
from tests.data.raw_data import annotation, ntu60_plan, ntu_name, person, write_pickle


def plan_with(folder: Path, selection: Selection, **changes: Any) -> tuple[list[ShardTask], list[str]]:
    """The tasks, and the keys of all their clips."""
    plan = ntu60_plan(folder, Path("unused"), selection=selection, **changes)
    with temporary_store(plan) as (store, sources):
        tasks = plan_tasks(plan, store, sources)
        return tasks, [store.keys[row] for task in tasks for row in task.rows]


def test_one_split_is_planned_as_in_the_whole(ntu60_raw: Path):
    whole, _ = plan_with(ntu60_raw, Selection())
    for split in ("train", "val"):
        tasks, _ = plan_with(ntu60_raw, Selection(split=split))
        assert tasks == [task for task in whole if task.split == split]


def test_only_some_keys(ntu60_raw: Path):
    wanted = (ntu_name(3, 4), ntu_name(16, 17))
    tasks, keys = plan_with(ntu60_raw, Selection(only=wanted))
    assert sorted(keys) == sorted(wanted)
    assert [task.name for task in tasks] == ["train-000000", "val-000000"]


def test_a_limit_chooses_by_the_seed(ntu60_raw: Path):
    _, seven = plan_with(ntu60_raw, Selection(limit=7))
    assert len(set(seven)) == 7
    assert plan_with(ntu60_raw, Selection(limit=7))[1] == seven
    _, nine = plan_with(ntu60_raw, Selection(limit=9))
    assert set(seven) < set(nine)
    _, all_of_them = plan_with(ntu60_raw, Selection(limit=100))
    assert len(all_of_them) == 19


def test_selections_add_up(ntu60_raw: Path):
    _, keys = plan_with(ntu60_raw, Selection(split="val", limit=3))
    assert len(keys) == 3 and set(keys) < set(plan_with(ntu60_raw, Selection(split="val"))[1])


def test_unknown_keys_are_named_with_the_nearest(ntu60_raw: Path):
    message = f"only: the data set has no clip {ntu_name(3, 4)}x; did you mean {ntu_name(3, 4)}?"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plan_with(ntu60_raw, Selection(only=(f"{ntu_name(3, 4)}x",)))


def test_nothing_left(ntu60_raw: Path):
    with pytest.raises(ValueError, match=r"no usable clip of protocol 'xsub' with split test$"):
        plan_with(ntu60_raw, Selection(split="test"))


def test_a_key_that_the_reader_refused_has_its_own_reason(ntu60_raw: Path, tmp_path: Path):
    bad = annotation(ntu_name(1, 2), 7, person(8)[None])
    write_pickle(tmp_path / "bad.pkl", {"split": {"xsub_train": [ntu_name(1, 2)]}, "annotations": [bad]})
    raw = RawSettings(videos=ntu60_raw / "videos", skeletons=tmp_path / "bad.pkl", protocol="xsub")
    with pytest.raises(ValueError, match=rf"^only: {ntu_name(1, 2)}: the name says label 1, the annotation says 7$"):
        plan_with(ntu60_raw, Selection(only=(ntu_name(1, 2),)), raw=raw)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "dev"}, "split must be one of train, val, test, got 'dev'"),
        ({"limit": 0}, "limit must be >= 1, got 0"),
    ],
)
def test_bad_selections_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Selection(**values)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"out": "s3://bucket/ntu60"}, "out is the URL s3://bucket/ntu60: give --work FOLDER"),
        ({"out": Path("shards"), "work": Path("w")}, "work is only for an out that is a URL; the folder shards uses"),
    ],
)
def test_a_url_needs_a_work_folder_and_a_folder_none(ntu60_raw: Path, places: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        ntu60_plan(ntu60_raw, places.pop("out"), **places)
