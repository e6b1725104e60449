"""Files that are no skeleton pickles are told in words, with what to do."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from epam_data.readers.file_kind import START_BYTES, other_kind
from epam_data.readers.pickles import load_pickle

PICKLE = pickle.dumps([{"frame_dir": "a"}])


def numpy_file(save: object) -> bytes:
    buffer = io.BytesIO()
    save(buffer, np.zeros(3))  # type: ignore[operator]
    return buffer.getvalue()


def zip_file(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "an empty file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
            "a pointer of Git LFS, .*git lfs pull",
        ),
        (b"\n<!DOCTYPE html>\n<html>", "a web page: "),
        (b"<?xml version='1.0'?><Error/>", "an XML document"),
        (json.dumps({"annotations": []}).encode(), "JSON text: load it, and save the annotations with pickle.dump"),
        (b"\xef\xbb\xbf[{}]", "JSON text: load it"),
        (gzip.compress(PICKLE), "packed with gzip: unpack it first"),
        (bz2.compress(PICKLE), "packed with bzip2: unpack it first"),
        (lzma.compress(PICKLE), "packed with xz: unpack it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "packed with zstd: unpack it first"),
        (numpy_file(np.save), r"a NumPy array \(\.npy\): load it"),
        (numpy_file(np.savez), r"a NumPy archive \(\.npz\): load it"),
        (zip_file("archive/data.pkl"), "a file of torch.save: load it"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + PICKLE, "a file of torch.save: load it"),
        (zip_file("skeletons.pkl"), "a zip file: unpack it first"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file: load it"),
        ("name;étiquette\n".encode(), "text, which begins with 'name;étiquette"),
    ],
)
def test_what_a_file_is_instead_is_said(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ValueError, match=rf"^a\.pkl: not a skeleton pickle but {kind}"):
        load_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_may_be_one(tmp_path: Path, protocol: int) -> None:
    """Also one of protocol 0, which is text."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": ["b"]}, protocol))
    assert load_pickle(tmp_path / "a.pkl") == {"a": ["b"]}


@pytest.mark.parametrize("data", [PICKLE[:-1], PICKLE + b"x", bytes(START_BYTES)])
def test_a_damaged_pickle_is_none_of_them(data: bytes) -> None:
    assert other_kind(data[:START_BYTES]) is None


def test_a_tensor_in_a_pickle_is_to_be_saved_as_an_array(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.")
    with pytest.raises(ValueError, match=r"refused the global torch\._utils\._reb.*, tensor\.numpy\(\)$"):
        load_pickle(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(ValueError, match=r"builtin containers only$"):
        load_pickle(tmp_path / "a.pkl")


def test_only_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # it would block whoever opens it
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {reason}, expected a skeleton pickle$"):
            load_pickle(path)
