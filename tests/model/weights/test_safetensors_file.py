"""The format by its definition: 8 bytes of length, JSON, numbers; and by its own package, where that is installed."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from epam_model.weights.safetensors_file import is_safetensors, read_safetensors, write_safetensors
from epam_model.weights.weight_file import DamagedCheckpointError, read_state_dict, read_weight_file

STATE = {
    "a.weight": torch.randn(3, 4, 1),
    "a.half": torch.randn(5).to(torch.bfloat16),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 3),
    "mask": torch.tensor([True, False]),
    "turned": torch.arange(6).reshape(2, 3).T,
}


def packed(header: Any, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_what_is_written_is_read(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        write_safetensors(file, STATE, {"recipe": '{"model": {"head": "pcan"}}', "note": "not JSON"})
    assert is_safetensors(path)
    state, metadata = read_safetensors(path)
    assert state.keys() == STATE.keys() and metadata["note"] == "not JSON"
    for name, value in STATE.items():
        assert state[name].dtype == value.dtype and torch.equal(state[name], value), name
    values = read_weight_file(path)
    assert values["recipe"] == {"model": {"head": "pcan"}} and "note" not in values
    assert read_state_dict(path).keys() == STATE.keys()


def test_each_number_lies_where_its_dtype_needs_it(tmp_path: Path):
    file = io.BytesIO()
    write_safetensors(file, {"a": torch.ones(1, dtype=torch.int8), "b": torch.ones(3), "c": torch.ones(1).double()}, {})
    data = file.getvalue()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0 and header.pop("__metadata__") == {}
    sizes = {"I8": 1, "F32": 4, "F64": 8}
    assert all(each["data_offsets"][0] % sizes[each["dtype"]] == 0 for each in header.values())


def test_the_bytes_of_the_definition_are_read(tmp_path: Path):
    (tmp_path / "w").write_bytes(packed(entry(), b"\0\0\x80\x3f\0\0\0\x40"))
    state, metadata = read_safetensors(tmp_path / "w")
    assert state["w"].tolist() == [1.0, 2.0] and metadata == {}
    header = {"last": {"dtype": "U8", "shape": [], "data_offsets": [1, 2]}}
    header["first"] = {"dtype": "U8", "shape": [1, 1], "data_offsets": [0, 1]}
    (tmp_path / "w").write_bytes(packed(header, b"\x05\x06"))  # in another order than that of the numbers
    state, _ = read_safetensors(tmp_path / "w")
    assert (state["last"].tolist(), state["first"].tolist()) == (6, [[5]])


def test_the_package_of_the_format_agrees(tmp_path: Path):
    theirs = pytest.importorskip("safetensors.torch", reason="needs the package safetensors")
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        write_safetensors(file, STATE, {"recipe": "{}"})
    read = theirs.load_file(path)
    assert all(torch.equal(read[name], value) for name, value in STATE.items())
    theirs.save_file({name: value.contiguous() for name, value in STATE.items()}, path, metadata={"a": "b"})
    state, metadata = read_safetensors(path)
    assert metadata == {"a": "b"} and all(torch.equal(state[name], value) for name, value in STATE.items())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packed(entry(), b"\0" * 7), "its tensors have 8 bytes, the file has 7 for them"),
        (packed(entry(), b"\0" * 9), "its tensors have 8 bytes, the file has 9 for them"),
        (packed(entry())[:12], r"its header has \d+ bytes, the file 12"),
        (packed(b"{nonsense"), r"its header is no JSON \(JSONDecodeError\)"),
        (packed(b'{"\xff"}'), r"its header is no JSON \(UnicodeDecodeError\)"),
        (packed(b'{"a":' * 100_000), r"its header is no JSON \((RecursionError|JSONDecodeError)\)"),
        (packed(b'{"w": 1, "w": 2}'), "a name stands twice in its header"),
        (packed({"__metadata__": {"a": 1}}), "its metadata must be text by name"),
        (packed({"w": 3}), "the dtype of 'w' must be one of F64, F32"),
        (packed(entry(dtype="F8_E4M3")), "the dtype of 'w' must be one of F64, F32"),
        (packed(entry(dtype=["F32"])), "the dtype of 'w' must be one of"),
        (packed(entry(shape=[-2])), "'w' must have a shape and two offsets, whole numbers of at least 0"),
        (packed(entry(shape=[True])), "'w' must have a shape and two offsets"),
        (packed(entry(shape=[1] * 65)), "'w' must have a shape and two offsets"),
        (packed(entry(data_offsets=[8])), "'w' must have a shape and two offsets"),
        (packed(entry(data_offsets=[0, 4]), b"\0" * 4), "'w' needs 8 bytes, its offsets give 4"),
        (packed(entry(data_offsets=[8, 0])), "'w' needs 8 bytes, its offsets give -8"),
        (packed(entry(shape=[2**40, 2**40])), r"'w' needs \d+ bytes, its offsets give 8"),
        (packed(entry(data_offsets=[4, 12]), b"\0" * 12), "'w' begins at byte 4, expected 0: gaps and overlaps"),
        (packed({**entry(), "v": entry()["w"]}, b"\0" * 16), "'v' begins at byte 0, expected 8: gaps and overlaps"),
    ],
)
def test_damage_is_named_before_anything_large_is_made(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(DamagedCheckpointError, match=rf"w\.safetensors: not a readable safetensors file: {message}"):
        read_state_dict(path)


def test_what_the_format_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"safetensors files have no such tensors: 'c' is of torch\.complex64"):
        write_safetensors(io.BytesIO(), {"c": torch.zeros(1, dtype=torch.complex64)}, {})


@pytest.mark.parametrize(("length", "is_one"), [(0, True), (100_000_000, True), (100_000_001, False)])
def test_how_such_a_file_begins(tmp_path: Path, length: int, is_one: bool):
    (tmp_path / "w").write_bytes(length.to_bytes(8, "little") + b"{")
    assert is_safetensors(tmp_path / "w") == is_one
    (tmp_path / "w").write_bytes(b'{"error": "not found"}')
    assert not is_safetensors(tmp_path / "w")
    (tmp_path / "w").write_bytes(b"")
    assert not is_safetensors(tmp_path / "w")
