"""Raw data sets and shard directories that the tests share; each is made once per run."""

from pathlib import Path
from typing import Any

import pytest

from epam_data.build.build import build
from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings
from epam_data.shards.settings import ShardSettings
from epam_data.system.remote import RemoteFolder
from tests.data.people import write_people
from tests.data.raw_data import SMALL, ntu60_plan, write_ma52, write_ntu60


@pytest.fixture(scope="session")
def ntu60_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 training and 5 validation clips (X-Sub) in NTU's layout."""
    return write_ntu60(tmp_path_factory.mktemp("ntu60"))


@pytest.fixture(scope="session")
def ma52_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 training, 2 validation and 2 test clips in MA-52's layout."""
    return write_ma52(tmp_path_factory.mktemp("ma52"))


@pytest.fixture(scope="session")
def ntu60_shards(ntu60_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ntu60_raw` as shards of 4, 4, 4, 2 and 4, 1 samples. Read only: copy it to change it."""
    out = tmp_path_factory.mktemp("ntu60_shards")
    report = build(ntu60_plan(ntu60_raw, out))
    assert report.num_samples == 19 and not report.problems
    return out


@pytest.fixture(scope="session")
def ma52_shards(ma52_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ma52_raw` as one shard per split. Read only."""
    out = tmp_path_factory.mktemp("ma52_shards")
    plan = BuildPlan(
        dataset="ma52",
        raw=RawSettings(videos=ma52_raw / "raw_videos", skeletons=ma52_raw),
        prepare=SMALL,
        shard=ShardSettings(samples_per_shard=8),
        out=out,
    )
    report = build(plan)
    assert report.num_samples == 8 and not report.problems
    return out


@pytest.fixture(scope="session")
def people_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """53 training and 29 evaluation samples of one or two persons, 32 px frames and 8 px heatmaps. Read only."""
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that were fetched from now on."""
    names: list[str] = []
    read_ranges = RemoteFolder.read_ranges

    def counted(self: RemoteFolder, ranges: Any) -> list[bytes]:
        names.append(ranges[0][0])
        return read_ranges(self, ranges)

    monkeypatch.setattr(RemoteFolder, "read_ranges", counted)
    return names
