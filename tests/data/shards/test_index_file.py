"""Where the columns of an index are: HDF5 never reads a stranger's file in this process, and never crashes it."""

import io
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import pytest

from epam_data.shards import index_file
from epam_data.shards.index import Index, index_bytes, load_index
from epam_data.shards.index_file import COLUMNS, Columns
from epam_data.shards.layout import INDEX, IndexRow, ShardSummary
from epam_data.system.isolated import CallFailedError, IsolatedProcess
from tests.data.shards.test_index import MANIFEST, SHARDS, with_index


def write(path: Path, change: Callable[[h5py.File], Any], **options: Any) -> None:
    """An index of the columns of `SHARDS`, changed."""
    with h5py.File(io.BytesIO(index_bytes(SHARDS))) as source, h5py.File(path, "w", **options) as file:
        for name in COLUMNS:
            file.create_dataset(name, data=source[name][()])
        change(file)


def stored_otherwise(name: str, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        content = file[name][()]
        del file[name]
        file.create_dataset(name, data=content, **options)

    return change


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: object) -> NoReturn:
        raise AssertionError("a process was started")

    monkeypatch.setattr(IsolatedProcess, "call", call)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 5000])
def test_an_index_of_our_own_needs_no_hdf5(no_child: None, tmp_path: Path, count: int) -> None:
    """If this fails with a new h5py: its files have another structure, `_STRUCTURE` is that of the old ones."""
    values = {"label": 1, "coarse_label": -1, "num_frames": 3, "member_bytes": (1, 2, 3, 4)}
    rows = tuple(IndexRow(key=f"clip-{number}", offset=number * 4096, **values) for number in range(count))
    shard = ShardSummary(name="a", split="train", num_bytes=2**33, sha256="0" * 64, rows=rows)
    index = load_index(tmp_path, with_index(tmp_path, index_bytes([shard]), (shard,)))
    assert [index.row(number) for number in range(count)] == list(rows)
    assert len(load_index(tmp_path)) == count
    assert not index.label.flags.writeable and not index.label.flags.owndata


def test_the_frozen_shards_need_none_either(no_child: None) -> None:
    from epam_data.shards.manifest import load_manifest

    root = Path(__file__).parent / "schema_1"
    assert len(load_index(root, load_manifest(root))) == 3


@pytest.mark.parametrize("position", range(40, 447, 23))
def test_another_structure_is_looked_at_by_hdf5(tmp_path: Path, position: int) -> None:
    """One changed byte between the columns: found by HDF5's checksums, or it has no meaning."""
    data = bytearray(index_bytes(SHARDS))
    data[position] ^= 1
    manifest = with_index(tmp_path, bytes(data))
    try:
        index = load_index(tmp_path, manifest)
    except ValueError as error:
        assert str(error).startswith(f"{tmp_path / INDEX}: not a readable index (")
    else:
        assert index.keys.tolist() == [b"a", b"bb", b"k" * 80]


@pytest.mark.parametrize(
    ("change", "options", "is_mapped"),
    [
        (lambda file: None, {}, True),
        (lambda file: None, {"libver": "earliest"}, True),
        (lambda file: file.create_dataset("of_a_later_day", data=np.zeros(3)), {}, True),
        (stored_otherwise("keys", chunks=True, compression="gzip"), {}, False),
        (stored_otherwise("member_bytes", chunks=(1, 4), shuffle=True, fletcher32=True), {}, False),
    ],
)
def test_an_index_of_others_is_read(
    tmp_path: Path, change: Callable[[h5py.File], Any], options: dict[str, Any], is_mapped: bool
) -> None:
    write(tmp_path / INDEX, change, **options)
    index = load_index(tmp_path, with_index(tmp_path, (tmp_path / INDEX).read_bytes()))
    rows = [row for shard in SHARDS for row in shard.rows]
    assert [index.row(number) for number in range(3)] == rows
    assert index.label.flags.owndata != is_mapped
    assert [pickle.loads(pickle.dumps(index)).row(number) for number in range(3)] == rows


def linked(link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file["elsewhere"] = file["label"]
        del file["label"]
        file["label"] = link

    return change


def in_another_file(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset("label", (3,), "i4", external=[("/etc/passwd", 0, 12)])


def virtual(file: h5py.File) -> None:
    del file["label"]
    layout = h5py.VirtualLayout((3,), "i4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "label", (3,), "i4")
    file.create_virtual_dataset("label", layout)


def renamed(file: h5py.File) -> None:
    file.move("label", "labels")


def grouped(file: h5py.File) -> None:
    del file["label"]
    file.create_group("label")


def huge(file: h5py.File) -> None:
    for name, (dtype, shape) in COLUMNS.items():
        del file[name]
        file.create_dataset(name, (10**12, *shape), dtype, chunks=(1, *shape))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (linked(h5py.SoftLink("/elsewhere")), "label must be in the file itself, got a SoftLink"),
        (linked(h5py.ExternalLink("/etc/other.h5", "label")), "label must be in the file itself, got a ExternalLink"),
        (in_another_file, "label must be in the file itself, got a dataset of other files"),
        (virtual, "label must be in the file itself, got a dataset of other files"),
        (stored_otherwise("label", dtype="i8"), "label must be int32, got int64"),
        (stored_otherwise("offset", dtype=">i8"), "offset must be int64, got >i8"),
        (renamed, "it has no column label"),
        (grouped, "label must be a dataset, got a Group"),
        (huge, "it has 1000000000000 rows, the manifest counts 3 samples"),
    ],
)
def test_columns_are_in_the_file_and_of_the_exact_kind(
    tmp_path: Path, change: Callable[[h5py.File], Any], reason: str
) -> None:
    write(tmp_path / INDEX, change)
    message = f"^{re.escape(f'{tmp_path / INDEX}: not a readable index ({reason})')}$"
    with pytest.raises(ValueError, match=message):
        load_index(tmp_path, with_index(tmp_path, (tmp_path / INDEX).read_bytes()))


def test_chunks_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    write(tmp_path / INDEX, huge)
    with pytest.raises(ValueError, match=r"it has 1000000000000 rows in chunks; so many must be stored contiguously"):
        load_index(tmp_path)


def test_a_crash_of_hdf5_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: object) -> NoReturn:
        raise CallFailedError("the decoding process died 2 times: by SIGSEGV")

    write(tmp_path / INDEX, lambda file: None)
    monkeypatch.setattr(IsolatedProcess, "call", call)
    with pytest.raises(ValueError, match=r"index\.h5: not a readable index \(HDF5 failed on it: .* by SIGSEGV\)$"):
        load_index(tmp_path)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_another_process_maps_the_same_file(tmp_path: Path, scheme: str) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    index = load_index(f"{scheme}{tmp_path}" if scheme else tmp_path)
    data = pickle.dumps(index)
    assert b"k" * 80 not in data, "the columns are not copied"
    copy: Index = pickle.loads(data)
    assert copy.keys.tolist() == index.keys.tolist() and not copy.keys.flags.owndata


def test_rows_in_another_process_are_read_from_the_open_file(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    index = load_index(tmp_path)
    copy: Index = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(index))))
    (tmp_path / INDEX).unlink()
    for number in range(len(index)):
        assert copy.shard_and_row(number) == index.shard_and_row(number) == (index.shard[number], index.row(number))
    for number in (-1, len(index)):
        with pytest.raises(IndexError, match=rf"index\.h5: row {number} of {len(index)}$"):
            copy.row(number)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="/proc is Linux")
def test_rows_of_another_process_take_no_memory(tmp_path: Path) -> None:
    """The bytes of the mapped file that are in memory, after the check of a load, and after all rows were read."""
    values = {"label": 1, "coarse_label": -1, "num_frames": 3, "member_bytes": (1, 2, 3, 4)}
    rows = tuple(IndexRow(key=f"clip-{number}", offset=number * 4096, **values) for number in range(20_000))
    shard = ShardSummary(name="a", split="train", num_bytes=2**33, sha256="0" * 64, rows=rows)
    index = load_index(tmp_path, with_index(tmp_path, index_bytes([shard]), (shard,)))
    assert resident_bytes(tmp_path / INDEX) == 0
    copy: Index = pickle.loads(pickle.dumps(index))
    assert all(copy.row(number) == row for number, row in enumerate(rows))
    assert resident_bytes(tmp_path / INDEX) == 0
    assert index.label[7] == 1
    assert resident_bytes(tmp_path / INDEX) > 0


def resident_bytes(path: Path) -> int:
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    sizes = [re.search(r"^Rss:\s+(\d+) kB", part, re.MULTILINE) for part in parts if str(path) in part]
    assert sizes
    return sum(1024 * int(size[1]) for size in sizes if size)


def test_an_index_that_is_cut_short_later_is_an_error_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    copy: Index = pickle.loads(pickle.dumps(load_index(tmp_path)))
    os.truncate(tmp_path / INDEX, 100)
    with pytest.raises(ValueError, match=r"index\.h5: cut short, expected \d+ bytes at \d+, got \d+$"):
        copy.row(len(copy) - 1)


def test_the_file_of_another_process_is_closed_with_its_index(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    data = pickle.dumps(load_index(tmp_path))
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        copy: Index = pickle.loads(data)
        assert copy.row(0) == SHARDS[0].rows[0]
        del copy
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_file_that_took_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / INDEX
    path.write_bytes(index_bytes(SHARDS))
    data = pickle.dumps(load_index(tmp_path))
    (tmp_path / "new").write_bytes(index_bytes(SHARDS))
    (tmp_path / "new").replace(path)
    with pytest.raises(ValueError, match=r"index\.h5: was replaced while it was in use; start again$"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(ValueError, match=r"index\.h5: was removed while it was in use$"):
        pickle.loads(data)


def test_a_place_behind_the_end_of_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    manifest = with_index(tmp_path, index_bytes(SHARDS))
    for offset in (-8, 10**9):
        columns = Columns(num_rows=3, offsets=dict.fromkeys(COLUMNS, offset))
        monkeypatch.setattr(index_file, "_columns_of_our_own", lambda _, columns=columns: columns)
        with pytest.raises(ValueError, match=r"not a readable index \(keys is beyond the end of the file\)$"):
            load_index(tmp_path, manifest)


def test_a_pipe_is_no_index(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / INDEX)
    with pytest.raises(OSError, match="Not a regular file"):
        load_index(tmp_path)
    assert MANIFEST.index_sha256
