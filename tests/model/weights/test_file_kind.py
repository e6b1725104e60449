"""Files that are no checkpoints are told in words; archives that torch did not write are refused before they unpack."""

import io
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from epam_model.weights import file_kind
from epam_model.weights.checkpoint import load_checkpoint
from epam_model.weights.file_kind import check_archive, other_kind
from epam_model.weights.weight_file import DamagedCheckpointError, read_state_dict, read_weight_file


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n", "a web page"),
        (b"\n  <HTML>", "a web page"),
        (b'{"error": "Repository not found"}', "JSON text"),
        (b"<?xml version='1.0'?><Error/>", "an XML document"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"a picture \(PNG\)"),
        (b"\x1f\x8b\x08\0" + bytes(50), "packed with gzip"),
        (b"\x08\x07\x12\x07pytorch", "an ONNX graph"),
        (b"hello, this is a readme\n", "text, which begins with 'hello, this is a readme"),
    ],
)
def test_what_a_file_is_instead_is_said(tmp_path: Path, data: bytes, kind: str):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    for read in (read_weight_file, read_state_dict, load_checkpoint):
        with pytest.raises(DamagedCheckpointError, match=rf"^{re.escape(str(path))}: not a checkpoint but {kind}"):
            read(path)


def test_only_files_are_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")  # it would block whoever opens it
    (tmp_path / "zeros").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("", "not a checkpoint but a folder: name a checkpoint in it"),
        ("pipe", "not a checkpoint but a pipe or a device, expected a file"),
        ("zeros", "not a checkpoint but a pipe or a device, expected a file"),
        ("loop", r"not a readable checkpoint \(Too many levels of symbolic links\)"),
    ):
        with pytest.raises(DamagedCheckpointError, match=f"^{re.escape(str(tmp_path / name))}: {reason}$"):
            load_checkpoint(tmp_path / name)


def test_a_checkpoint_may_be_one(tmp_path: Path):
    for new in (True, False):
        torch.save({"a": torch.zeros(2)}, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
        assert other_kind(tmp_path / "w.pt") is None
        assert list(read_state_dict(tmp_path / "w.pt")) == ["a"]
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": 1}, 2))
    assert other_kind(tmp_path / "w.pt") is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b" to ~, with\ttabs and\r\nlines", "text, which begins with ' to ~, with\\ttabs and\\r\\nlines'"),
        (b"a" * 100, f"text, which begins with '{'a' * 40}'"),
        (b"a" * 512 + b"\0", f"text, which begins with '{'a' * 40}'"),
        (b"a" * 511 + b"\0", None),
        (b"a\x1f", None),
        (b"a\x7f", None),
        ((8).to_bytes(8, "little") + b"{}      ", None),
    ],
)
def test_where_text_ends(tmp_path: Path, data: bytes, kind: str | None):
    (tmp_path / "w").write_bytes(data)
    found = other_kind(tmp_path / "w")
    assert found is None if kind is None else found is not None and found.startswith(kind)


def archive(*records: tuple[str, bytes], packed: bool = False) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", kind) as file:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, data in records:
            file.writestr(name, data)
    return buffer.getvalue()


EMPTY = pickle.dumps({}, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive(("a/data.pkl", EMPTY), ("a/data/0", bytes(1 << 20)), packed=True), "a zip file with packed records"),
        (archive(("a/data.pkl", EMPTY), ("a/data.pkl", EMPTY)), "an archive in which a record stands twice"),
        (
            archive(("a/data.pkl", EMPTY), ("b/data.pkl", EMPTY)),
            r"a zip file without a checkpoint in it \(no data.pkl\)",
        ),
        (archive(("readme.txt", b"hello")), r"a zip file without a checkpoint in it \(no data.pkl\)"),
    ],
)
def test_an_archive_that_torch_did_not_write_is_refused(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: {message}"):
        read_weight_file(path)


def saying(num_bytes: int) -> bytes:
    """An archive whose directory says that data.pkl is that large."""
    data = bytearray(archive(("a/data.pkl", EMPTY)))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = num_bytes.to_bytes(4, "little")
    return bytes(data)


def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path: Path):
    path = tmp_path / "w.pth"
    path.write_bytes(saying((256 << 20) + 1))
    with pytest.raises(ValueError, match=r"w\.pth: data\.pkl has 268435457 bytes, at most 268435456"):
        check_archive(path)
    path.write_bytes(saying(256 << 20))
    check_archive(path)


def test_what_torch_writes_passes_and_a_damaged_record_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as file:
        monkeypatch.setattr(file_kind, "_MAX_RECORDS", len(file.infolist()))
    check_archive(path)
    with monkeypatch.context() as fewer, pytest.raises(ValueError, match=r"\d+ records in an archive, at most 1$"):
        fewer.setattr(file_kind, "_MAX_RECORDS", 1)
        check_archive(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x00\x00\x80\x3f")] ^= 1  # a bit of the first number
    path.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match="is damaged"):
        check_archive(path)
