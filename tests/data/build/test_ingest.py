import json
import os
from pathlib import Path

import pytest

from epam_data.build import ingest as ingest_module
from epam_data.build.ingest import INPUTS, hash_sources, ingest, record_inputs, temporary_store
from epam_data.build.plan import BuildPlan, Selection
from epam_data.readers import RawSettings
from tests.data.raw_data import ntu60_plan


@pytest.fixture
def plan(ntu60_raw: Path, tmp_path: Path) -> BuildPlan:
    made = ntu60_plan(ntu60_raw, tmp_path / "out")
    made.work_folder.mkdir(parents=True)
    return made


def test_the_pickle_is_read_once(plan: BuildPlan, monkeypatch: pytest.MonkeyPatch):
    sources = ingest(plan)
    assert sources == hash_sources(plan) and list(sources) == ["skeletons.pkl"]
    monkeypatch.setattr(ingest_module, "write_store", lambda *_: pytest.fail("read again"))
    assert ingest(plan) == sources


def test_another_version_of_a_tool_reads_anew(plan: BuildPlan, monkeypatch: pytest.MonkeyPatch):
    ingest(plan)
    before = plan.store.stat().st_ino
    monkeypatch.setattr(ingest_module, "tool_versions", lambda: {"h5py": "99"})
    ingest(plan)
    assert plan.store.stat().st_ino != before


def test_another_selection_is_another_build(plan: BuildPlan, ntu60_raw: Path):
    record_inputs(plan, ingest(plan))
    other = ntu60_plan(ntu60_raw, plan.out, selection=Selection(split="val", limit=2))
    with pytest.raises(
        ValueError, match=r"other inputs \(selection\.split: None -> val; selection\.limit: None -> 2\)"
    ):
        ingest(other)
    with pytest.raises(ValueError, match="other inputs"):
        record_inputs(other, hash_sources(other))
    record_inputs(other, ingest(other, restart=True), restart=True)
    assert json.loads((Path(plan.out) / INPUTS).read_bytes())["selection"]["limit"] == 2
    ingest(ntu60_plan(ntu60_raw, plan.out, selection=Selection(split="val", limit=2)))


def test_the_order_of_keys_is_no_difference(ntu60_raw: Path, tmp_path: Path):
    plans = [ntu60_plan(ntu60_raw, tmp_path, selection=Selection(only=keys)) for keys in (("a", "b"), ("b", "a"))]
    plans[0].work_folder.mkdir()
    record_inputs(plans[0], {})
    record_inputs(plans[1], {})


def test_a_look_leaves_no_trace(ntu60_raw: Path, tmp_path: Path):
    plan = ntu60_plan(ntu60_raw, tmp_path / "out")
    with temporary_store(plan) as (store, sources):
        assert len(store) == 19 and sources == hash_sources(plan)
    assert not (tmp_path / "out").exists()


def test_a_look_takes_the_store_that_is_there(plan: BuildPlan, monkeypatch: pytest.MonkeyPatch):
    ingest(plan)
    monkeypatch.setattr(ingest_module, "write_store", lambda *_: pytest.fail("read again"))
    with temporary_store(plan) as (store, _):
        assert len(store) == 19


def test_a_pipe_is_no_skeleton_file(ntu60_raw: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.pkl")  # it would block whoever opens it
    raw = RawSettings(videos=ntu60_raw / "videos", skeletons=tmp_path / "pipe.pkl", protocol="xsub")
    with pytest.raises(ValueError, match=r"/pipe\.pkl: not a regular file, expected a skeleton pickle$"):
        hash_sources(ntu60_plan(ntu60_raw, tmp_path / "out", raw=raw))
