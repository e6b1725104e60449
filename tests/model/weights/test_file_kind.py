"""Files that are no checkpoints are told in words; archives that torch did not write are refused before they unpack."""

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from epam_model.weights.checkpoint import load_checkpoint
from epam_model.weights.file_kind import other_kind
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
        ((8).to_bytes(8, "little") + b"{}      ", "a safetensors file"),
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


def test_a_checkpoint_may_be_one(tmp_path: Path):
    for new in (True, False):
        torch.save({"a": torch.zeros(2)}, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
        assert other_kind(tmp_path / "w.pt") is None
        assert list(read_state_dict(tmp_path / "w.pt")) == ["a"]
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": 1}, 2))
    assert other_kind(tmp_path / "w.pt") is None


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
        (
            archive(*((f"a/data/{number}", b"") for number in range(200_001))),
            "200001 records in an archive, at most 200000",
        ),
    ],
)
def test_an_archive_that_torch_did_not_write_is_refused(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: {message}"):
        read_weight_file(path)


@pytest.mark.parametrize(
    ("tensor", "fault"),
    [
        (
            torch.zeros(1).expand(10**6, 10**7),
            r"a tensor of \(1000000, 10000000\) that repeats",
        ),
        (torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.long), [], (3,)), "a nested or sparse tensor"),
        (torch.zeros(3, device="meta"), "a tensor without numbers"),
        (torch.zeros(3, dtype=torch.complex64), "a tensor without numbers, of quantised or of complex numbers"),
        (torch.tensor([1.0, float("nan")]), "not finite: it holds NaN or infinity"),
        (torch.tensor([float("inf")], dtype=torch.float16), "not finite"),
    ],
    ids=["expanded", "sparse", "meta", "complex", "NaN", "infinity"],
)
def test_a_tensor_that_cannot_be_a_weight_is_named(tmp_path: Path, tensor: torch.Tensor, fault: str):
    torch.save({"state_dict": {"good": torch.ones(2), "bad": tensor}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth: ('bad' is {fault}|not a readable checkpoint)"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "values", [{1: torch.zeros(3), None: torch.zeros(1)}, {"state_dict": {1: torch.zeros(3)}}, {"x" * 1000: 1}]
)
def test_names_are_text(tmp_path: Path, values: dict[Any, Any]):
    torch.save(values, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: contains no weights by name; its entries are ") as caught:
        read_state_dict(tmp_path / "w.pth")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


FIELDS: dict[str, Any] = {"weights": {}, "optimizer": {}, "epoch": 0, "consumed": 0, "shards": {}, "recipe": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": True}, "checkpoint version True cannot be read, this code reads 1..2"),
        ({"version": [1]}, r"checkpoint version \[1\] cannot be read"),
        ({}, "checkpoint version None cannot be read"),
        ({"version": 2, "weights": None}, "weights must be a dict, got NoneType"),
        ({"version": 2, "weights": [torch.zeros(3)]}, "weights must be a dict, got list"),
        ({"version": 2, "epoch": "1"}, "epoch must be a int, got str"),
    ],
)
def test_a_field_of_another_kind_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    torch.save({**FIELDS, **changes}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=rf"w\.pt: {message}"):
        load_checkpoint(tmp_path / "w.pt")
