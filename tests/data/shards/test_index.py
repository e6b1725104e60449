"""The index: what was written is read, equal shards give equal bytes, damage is named."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from epam_data.samples.settings import PrepareSettings
from epam_data.shards.index import Index, index_bytes, load_index
from epam_data.shards.layout import INDEX, IndexRow, ShardSummary
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.shards.settings import ShardSettings


def summary(name: str, split: str, *keys: str) -> ShardSummary:
    rows = tuple(
        IndexRow(
            key=key,
            label=len(key) - 2,
            coarse_label=-1,
            num_frames=100 + number,
            offset=2**33 + 512 * number,
            member_bytes=(1, 2, 3, 4 + number),
        )
        for number, key in enumerate(keys)
    )
    return ShardSummary(name=name, split=split, num_bytes=2**34, sha256="0" * 64, rows=rows)


SHARDS = [
    summary("train-000000", "train", "a", "bb"),
    summary("train-000001", "train"),
    summary("val-000000", "val", "k" * 80),
]


MANIFEST = Manifest(
    **dict.fromkeys(("dataset", "taxonomy"), "x"),
    protocol=None,
    skeleton="coco17",
    joints=(),
    classes=tuple("abcdefghij") * 8,
    groups=(),
    coarse_of=(),
    prepare=PrepareSettings(),
    shard=ShardSettings(),
    sources={},
    versions={},
    problems={},
    index_sha256="0" * 64,
    shards=tuple(map(ShardEntry.of, SHARDS)),
)


def with_index(folder: Path, data: bytes, shards: Sequence[ShardSummary] = SHARDS) -> Manifest:
    """Write an index; the manifest that goes with it."""
    (folder / INDEX).write_bytes(data)
    entries = tuple(map(ShardEntry.of, shards))
    return replace(MANIFEST, index_sha256=hashlib.sha256(data).hexdigest(), shards=entries)


def load_written(folder: Path, data: bytes) -> Index:
    (folder / INDEX).write_bytes(data)
    return load_index(folder)


def test_the_index_survives(tmp_path: Path) -> None:
    index = load_written(tmp_path, index_bytes(SHARDS))
    rows = [row for shard in SHARDS for row in shard.rows]
    assert len(index) == 3 and [index.row(number) for number in range(3)] == rows
    assert index.shard.tolist() == [0, 0, 2]
    assert index.row_of_key == {"a": 0, "bb": 1, "k" * 80: 2}
    assert index.offset.max() > 2**32, "shards may be larger than 4 GB"
    assert type(index.row(0).member_bytes[0]) is int


def test_the_rows_of_shards_are_those_that_lie_in_them(tmp_path: Path) -> None:
    index = load_written(tmp_path, index_bytes(SHARDS))
    assert [index.rows_of(shards).tolist() for shards in ([0, 1], [2], [1], [])] == [[0, 1], [2], [], []]


def test_equal_shards_give_equal_bytes() -> None:
    assert index_bytes(SHARDS) == index_bytes(list(SHARDS))
    assert index_bytes(SHARDS) != index_bytes(SHARDS[:1])


def test_an_index_without_samples(tmp_path: Path) -> None:
    index = load_written(tmp_path, index_bytes([summary("train-000000", "train")]))
    assert len(index) == 0 and index.member_bytes.shape == (0, 4)


def test_any_hdf5_reader_opens_it(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX) as file:
        assert file.attrs["schema"] == 1
        assert file["keys"][1] == b"bb" and file["num_frames"][1] == 101
        assert np.array_equal(file["member_bytes"][1], [1, 2, 3, 5])


def test_the_file_holds_no_times_and_no_order_of_creation(tmp_path: Path) -> None:
    """With either, equal shards would give other bytes."""
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX) as file:
        assert list(file) == sorted(file)
        assert not any(column.id.get_create_plist().get_obj_track_times() for column in file.values())


def test_the_index_of_another_build_is_refused(tmp_path: Path) -> None:
    data = index_bytes(SHARDS)
    (tmp_path / INDEX).write_bytes(data)
    manifest = replace(MANIFEST, index_sha256=hashlib.sha256(data).hexdigest())
    assert len(load_index(tmp_path, manifest)) == 3
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / INDEX))}: .* manifest\.json: .* another build$"):
        load_index(tmp_path, replace(manifest, index_sha256="0" * 64))


def test_a_bad_index_is_refused(tmp_path: Path) -> None:
    message = f"^{re.escape(str(tmp_path / INDEX))}: not a readable index \\("
    with pytest.raises(ValueError, match=rf"{message}there is no such file\)$"):
        load_index(tmp_path)
    data = index_bytes(SHARDS)
    for bad in (b"", b"text", data[: len(data) // 2]):
        with pytest.raises(ValueError, match=message):
            load_written(tmp_path, bad)
    with h5py.File(tmp_path / INDEX, "w") as file:
        file["keys"] = np.array([b"a"])
    with pytest.raises(ValueError, match=message):
        load_index(tmp_path)


def test_columns_of_other_lengths_are_refused(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX, "r+") as file:
        del file["label"]
        file["label"] = np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="not a readable index"):
        load_index(tmp_path)


def test_keys_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX, "r+") as file:
        del file["keys"]
        file["keys"] = np.arange(3)
    message = f"{tmp_path / INDEX}: not a readable index (keys must be |S80, got int64)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_index(tmp_path)


def test_a_key_that_is_not_ascii_is_refused_by_its_row(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX, "r+") as file:
        file["keys"][1] = b"b\xff"
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / INDEX))}: row 1: a key must be ASCII, got b'b"):
        load_index(tmp_path)
