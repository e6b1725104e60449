"""Read shards: nothing half-read, at any place or from front to back."""

import errno
import io
import json
import multiprocessing
import os
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from epam_data.shards import reader as reader_module
from epam_data.shards.codec import MEMBERS, decode, encode
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import ShardReader, read_shard
from tests.data.raw_data import KEYS, make_sample, needs_proc, open_files, write_shard


def test_what_was_written_is_read(shard: Path) -> None:
    read = list(read_shard(shard))
    assert [key for key, _, _ in read] == list(KEYS)
    for number, (key, _, members) in enumerate(read):
        assert tuple(members) == MEMBERS
        label = None if number == 1 else number
        assert members == encode(make_sample(number, key=key, label=label, coarse_label=None))


def test_a_shard_without_samples_is_empty(tmp_path: Path) -> None:
    assert write_shard(tmp_path, keys=()).rows == ()
    assert list(read_shard(tmp_path / "train-000000.tar")) == []


def test_a_tar_that_is_cut_anywhere_is_refused(shard: Path) -> None:
    data = shard.read_bytes()
    with tarfile.open(shard) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    offsets = [offset for _, offset, _ in read_shard(shard)]
    for length in sorted({0, 1, 100, *offsets, *range(512, end, 512), *range(700, end, 3001), end, end + 512}):
        shard.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"^train-000000\.tar: "):
            list(read_shard(shard))


def test_two_empty_blocks_end_a_shard(shard: Path, tmp_path: Path) -> None:
    """Ours are padded further, those of another writer need not be; less is a cut."""
    data, members = shard.read_bytes(), list(read_shard(shard))
    with tarfile.open(shard) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    shard.write_bytes(data[: end + 1024])
    assert list(read_shard(shard)) == members
    for cut in (data[: end + 1023], data[: end + 1024] + b"x"):
        shard.write_bytes(cut)
        with pytest.raises(ValueError, match=rf"^train-000000\.tar: damaged .* at byte {end}, \w+ {KEYS[-1]}$"):
            list(read_shard(shard))
    (tmp_path / "no.tar").write_bytes(bytes(1000))
    with pytest.raises(ValueError, match=r"^no\.tar: damaged .* at byte 0, \w+ no sample$"):
        list(read_shard(tmp_path / "no.tar"))


def test_a_damaged_header_is_refused(shard: Path) -> None:
    """Also at the start of a sample, where the tar module would silently stop."""
    data = shard.read_bytes()
    with tarfile.open(shard) as tar:
        places = [header.offset for header in tar.getmembers()]
    for place in places:
        for wrong in (b"\xff", bytes(1024)):
            shard.write_bytes(data[:place] + wrong + data[place + len(wrong) :])
            with pytest.raises(ValueError, match=r"^train-000000\.tar: "):
                list(read_shard(shard))


def write_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def members_of(key: str, order: Callable[[list[str]], list[str]] = list) -> list[tuple[str, bytes]]:
    return [(f"{key}.{ending}", b"x") for ending in order(list(MEMBERS))]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (members_of("a", lambda m: [m[1], m[0], *m[2:]]), "expected KEY.json, got a.keypoints.npy"),
        (members_of("a", lambda m: [m[0], m[2], m[1], m[3]]), "expected a.keypoints.npy, got a.heatmap.npy.zst"),
        ([*members_of("a")[:2], *members_of("b")[2:]], "expected a.heatmap.npy.zst, got b.heatmap.npy.zst"),
        (members_of("a")[:3], "a lacks rgb.mjpeg"),
        ([*members_of("a"), *members_of("b")[:1]], "b lacks keypoints.npy, heatmap.npy.zst, rgb.mjpeg"),
        ([*members_of("a"), ("a.txt", b"")], "expected KEY.json, got a.txt"),
        ([*members_of("a"), ("README", b"")], "expected KEY.json, got README"),
    ],
)
def test_samples_that_are_not_the_four_members_are_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], message: str
) -> None:
    path = write_tar(tmp_path / "odd.tar", *members)
    with pytest.raises(ValueError, match=f"^odd\\.tar: {re.escape(message)}$"):
        list(read_shard(path))


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("a.json")
    header.type, header.linkname = kind, "elsewhere"
    with tarfile.open(tmp_path / "odd.tar", "w") as tar:
        tar.addfile(header)
    with pytest.raises(ValueError, match=r"^odd\.tar: a\.json is not a regular file$"):
        list(read_shard(tmp_path / "odd.tar"))


@pytest.mark.parametrize("key", ["../a", "a b", "folder/a", "k" * 81])
def test_a_bad_key_is_refused(tmp_path: Path, key: str) -> None:
    path = write_tar(tmp_path / "odd.tar", (f"{key}.json".replace("..", "%%"), b"x"))
    with pytest.raises(ValueError, match=r"^odd\.tar: .*a key must be 1 to 80 characters"):
        list(read_shard(path))


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"text" * 500, np.random.default_rng(0).bytes(5000)):
        (tmp_path / "no.tar").write_bytes(data)
        with pytest.raises(ValueError, match=r"^no\.tar: damaged tar \("):
            list(read_shard(tmp_path / "no.tar"))


def test_random_access_by_shard_and_offset(tmp_path: Path) -> None:
    summaries = [write_shard(tmp_path, f"train-{number:06d}", (f"k{number}",)) for number in range(3)]
    reader = ShardReader(tmp_path, [summary.name for summary in summaries])
    for number in (2, 0, 1, 2):
        row = summaries[number].rows[0]
        data = reader.read(number, row.member_offsets()[0], row.member_bytes[0])
        assert json.loads(data)["key"] == f"k{number}"
    reader.close()
    assert len(reader.read(0, 0, 512)) == 512, "reading opens again"
    reader.close()


@needs_proc
def test_the_64_files_that_were_read_last_stay_open(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(100)]
    for number, name in enumerate(names):
        (tmp_path / f"{name}.tar").write_bytes(bytes([number]) * 8)
    reader = ShardReader(tmp_path, names)
    for number in (*range(100), 0, 50, 37, 1):
        assert reader.read(number, 4, 2) == bytes([number]) * 2
    kept = {0, 1, 37, *range(39, 100)}
    assert len(kept) == 64 and sorted(open_files(tmp_path)) == sorted(f"s{number}.tar" for number in kept)
    reader.close()
    assert open_files(tmp_path) == []


def test_the_members_of_a_sample_are_read_at_their_places(tmp_path: Path) -> None:
    rows = write_shard(tmp_path).rows
    reader = ShardReader(tmp_path, ["train-000000"])
    for row, (_, _, members) in zip(rows, read_shard(tmp_path / "train-000000.tar"), strict=True):
        assert reader.read_members(0, row) == members
    with pytest.raises(ValueError, match="zip"):
        reader.read_members(0, rows[0], MEMBERS[:3])
    reader.close()


def test_the_system_reads_nothing_ahead(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips are read at random places: what lies behind them would be read in vain."""
    told: list[int] = []
    monkeypatch.setattr(reader_module, "disable_readahead", told.append)
    reader = ShardReader(shard.parent, [shard.stem])
    reader.read(0, 0, 512)
    reader.read(0, 512, 512)
    assert told == [reader.descriptor(0)]
    reader.close()


def test_a_reader_travels_to_another_process(shard: Path) -> None:
    reader = ShardReader(shard.parent, ["train-000000"])
    expected = reader.read(0, 0, 512)
    other = pickle.loads(pickle.dumps(reader))
    reader.close()
    assert other.read(0, 0, 512) == expected, "with a file of its own"
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(reader.read, (0, 0, 512)) == expected


def test_absent_and_short_shards_are_named(shard: Path) -> None:
    reader = ShardReader(shard.parent, ["train-000000", "gone"])
    size = shard.stat().st_size
    message = f"train-000000.tar: cut short, expected 100 bytes at {size - 60}, got 60"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reader.read(0, size - 60, 100)
    message = f"{shard.parent / 'gone.tar'}: the manifest lists this shard, but there is no such file"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reader.read(1, 0, 1)


def test_shards_that_cannot_be_read_are_named(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector; a file of somebody else."""
    reader = ShardReader(shard.parent, [shard.stem])

    def fails(*_: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match=r"\.tar: cannot be read at 512 \(Input/output"),
    ):
        patch.setattr(os, "pread", fails)
        reader.read(0, 512, 10)
    assert len(reader.read(0, 512, 10)) == 10, "the next read may succeed"

    def refuses(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    reader.close()
    monkeypatch.setattr(os, "open", refuses)
    with pytest.raises(ValueError, match=rf"^{shard}: cannot be read \(Permission denied\)$"):
        reader.read(0, 512, 10)


def test_webdataset_reads_the_tars(ntu60_shards: Path) -> None:
    import webdataset

    manifest, index = load_manifest(ntu60_shards), load_index(ntu60_shards)
    urls = [str(ntu60_shards / f"{entry.name}.tar") for entry in manifest.shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [key.decode() for key in index.keys]
    for sample in samples:
        assert set(MEMBERS) <= set(sample)
        back = decode({name: sample[name] for name in MEMBERS})
        assert back.info.key == sample["__key__"]
        assert back.info.label == int(back.info.name[-3:]) - 1
