"""The rows of an index: keys are file names, bytes are inside their shards, labels are classes."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from epam_data.shards.index import index_bytes, load_index
from epam_data.shards.layout import INDEX
from tests.data.shards.test_index import SHARDS, with_index


def test_good_rows_pass(tmp_path: Path) -> None:
    assert len(load_index(tmp_path, with_index(tmp_path, index_bytes(SHARDS)))) == 3


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("keys", b"../x", r"row 1 \(b'../x'\): a key must be 1 to 80 characters of \[A-Za-z0-9_-\]"),
        ("keys", b"", r"row 1 \(b''\): a key must be 1 to 80 characters"),
        ("keys", b"a\0b", r"row 1 \(b'a\\x00b'\): a key must be"),
        ("keys", b"\x1b[2J", r"row 1 \(b'\\x1b\[2J'\): a key must be"),
        ("keys", b"a b", "row 1 .*: a key must be"),
        ("keys", b"\xff", "row 1 .*: a key must be"),
        ("shard", 3, r"row 1: shard must be in 0\.\.2, got 3"),
        ("shard", -1, r"row 1: shard must be in 0\.\.2, got -1"),
        ("shard", 1, "has 1 samples of train-000000, the manifest 2"),
        ("offset", -512, r"row 1 \(b'bb'\): offset must be a multiple of 512 and >= 0, got offset -512"),
        ("offset", 5, "row 1 .*: offset must be a multiple of 512"),
        ("offset", 2**34 - 512, "row 1 .*: its members must be inside the shard"),
        ("offset", 2**62, "row 1 .*: its members must be inside the shard"),
        ("member_bytes", (1, -1, 1, 1), "row 1 .*: sizes of members must be >= 0"),
        ("member_bytes", (2**62,) * 4, "row 1 .*: its members must be inside the shard"),
        ("member_bytes", (1, 2, 2**34 - 2**33, 1), "row 1 .*: its members must be inside the shard"),
        ("num_frames", 0, "row 1 .*: num_frames must be >= 1"),
        ("label", 80, r"row 1 .*: label must be in 0\.\.79, or -1 if there is none"),
        ("label", -2, "row 1 .*: label must be in"),
        ("coarse_label", 0, "row 1 .*: coarse_label must be in"),
    ],
)
def test_what_cannot_be_is_refused_by_its_row(tmp_path: Path, column: str, value: object, message: str) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX, "r+") as file:
        content = file[column][()]
        content[1] = value
        file[column][...] = content
    manifest = with_index(tmp_path, (tmp_path / INDEX).read_bytes())
    with pytest.raises(ValueError, match=rf"^{tmp_path}/index\.h5: {message}"):
        load_index(tmp_path, manifest)


def test_every_row_of_a_large_index_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epam_data.shards.index_values._ROWS", 2)
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX, "r+") as file:
        file["num_frames"][...] = np.array([1, 1, 0])
    manifest = with_index(tmp_path, (tmp_path / INDEX).read_bytes())
    with pytest.raises(ValueError, match=r"row 2 \(b'k+'\): num_frames must be >= 1"):
        load_index(tmp_path, manifest)
