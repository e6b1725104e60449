"""Written shards: plain tars, byte by byte the same, and nothing half-written."""

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from epam_data.shards.codec import MEMBERS
from epam_data.shards.reader import read_shard
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter
from epam_data.system.files import file_sha256
from tests.data.raw_data import KEYS, make_sample, needs_proc, open_files, write_shard


def test_the_summary_says_what_lies_where(tmp_path: Path) -> None:
    summary = write_shard(tmp_path)
    data = (tmp_path / "train-000000.tar").read_bytes()
    assert (summary.name, summary.split, summary.num_bytes) == ("train-000000", "train", len(data))
    assert summary.sha256 == hashlib.sha256(data).hexdigest() == file_sha256(tmp_path / "train-000000.tar")
    assert [(row.key, row.label, row.coarse_label, row.num_frames) for row in summary.rows] == [
        ("a-1", 0, -1, 6),
        ("b_2", -1, -1, 6),
        ("C3", 2, -1, 6),
    ]
    for row, (key, offset, members) in zip(summary.rows, read_shard(tmp_path / "train-000000.tar"), strict=True):
        assert (row.key, row.offset) == (key, offset)
        for start, size, content in zip(row.member_offsets(), row.member_bytes, members.values(), strict=True):
            assert data[start : start + size] == content


def test_equal_samples_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        os.umask(os.umask(0o77 if name == "one" else 0o2))
        write_shard(tmp_path / name)
    one, two = ((tmp_path / name / "train-000000.tar").read_bytes() for name in ("one", "two"))
    assert one == two


def test_headers_hold_nothing_of_the_machine(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        headers = tar.getmembers()
    assert [header.name for header in headers] == [f"{key}.{ending}" for key in KEYS for ending in MEMBERS]
    for header in headers:
        assert (header.mtime, header.uid, header.gid, header.uname, header.gname) == (0, 0, 0, "", "")
        assert header.isfile() and header.mode == 0o644


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path, "train-000000", "train", ShardSettings()) as writer:
            writer.write(make_sample())
            assert [path.suffix for path in tmp_path.iterdir()] != [".tar"], "not visible before it is whole"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_leaving_without_finish_leaves_nothing_behind(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-000000", "train", ShardSettings()) as writer:
        writer.write(make_sample())
    assert list(tmp_path.iterdir()) == []


@needs_proc
@pytest.mark.parametrize("finishes", [True, False])
def test_no_file_stays_open(tmp_path: Path, finishes: bool) -> None:
    with ShardWriter(tmp_path, "train-000000", "train", ShardSettings()) as writer:
        writer.write(make_sample())
        assert len(open_files(tmp_path)) == 1
        if finishes:
            writer.finish()
            assert open_files(tmp_path) == []
    assert open_files(tmp_path) == []


@needs_proc
def test_a_power_cut_leaves_a_whole_shard_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is on the disk before the name, and the name before `finish` returns."""
    synced: list[tuple[str, int, bool]] = []
    shard = tmp_path / "train-000000.tar"

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append(("folder" if path == tmp_path else "file", path.stat().st_size, shard.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_shard(tmp_path)
    assert synced == [("file", shard.stat().st_size, False), ("folder", tmp_path.stat().st_size, True)]


def test_an_earlier_shard_stays_until_the_new_one_is_whole(shard: Path) -> None:
    before = shard.read_bytes()
    with ShardWriter(shard.parent, "train-000000", "train", ShardSettings()) as writer:
        writer.write(make_sample(9))
        assert shard.read_bytes() == before
    assert shard.read_bytes() == before
    write_shard(shard.parent, keys=("only",))
    assert [key for key, _, _ in read_shard(shard)] == ["only"]
    assert [path.name for path in shard.parent.iterdir()] == ["train-000000.tar"]


def test_a_bad_key_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-000000", "train", ShardSettings()) as writer:
        with pytest.raises(ValueError, match=r"^'a\.b': a key must be"):
            writer.write(make_sample(key="a.b"))
        writer.write(make_sample())
        writer.finish()
    assert len(list(read_shard(tmp_path / "train-000000.tar"))) == 1
