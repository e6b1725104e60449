"""Files of the safetensors format: 8 bytes with the length of a JSON header, the header, the numbers of all tensors.

The format is small and fixed (https://huggingface.co/docs/safetensors), and reading weights must need torch alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, TypeGuard

import torch
from torch import Tensor

_MAX_HEADER_BYTES = 100_000_000  # as in the format's own reader
_METADATA = "__metadata__"
_DTYPES = {
    name: getattr(torch, kind)
    for name, kind in (
        *(("F64", "float64"), ("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16")),
        *(("I64", "int64"), ("I32", "int32"), ("I16", "int16"), ("I8", "int8"), ("U8", "uint8"), ("BOOL", "bool")),
    )
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_DIMENSIONS = 64  # as in torch
_NAME_SHOWN = 100  # characters of a name in a message


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as this format does; no other kind of file that people confuse with it does."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_HEADER_BYTES


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name, on the CPU, and the metadata. The format has no checksum.

    Raises:
        ValueError: the file is truncated, or not of this format; the message says where, without the path.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            raise ValueError(f"its header has {length} bytes, the file {size}")
        header = _parsed(file.read(length))
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata must be text by name")
        places = {name: _place(name, entry) for name, entry in header.items()}
        end = 0
        for name, (_, _, start, stop) in sorted(places.items(), key=lambda place: place[1][2:]):
            if start != end:
                raise ValueError(
                    f"{_start_of(name)} begins at byte {start}, expected {end}: gaps and overlaps are damage"
                )
            end = stop
        if 8 + length + end != size:
            raise ValueError(f"its tensors have {end} bytes, the file has {size - 8 - length} for them")
        state = {}
        for name, (dtype, shape, start, stop) in places.items():
            file.seek(8 + length + start)
            state[name] = _tensor(bytearray(file.read(stop - start)), dtype, shape)
    return state, metadata


def write_safetensors(file: IO[bytes], state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, on any device and in any memory layout, and metadata.

    Raises:
        ValueError: a tensor is of a dtype that the format does not have here.
    """
    unknown = [
        f"{_start_of(name)} is of {value.dtype}" for name, value in state.items() if value.dtype not in _DTYPE_NAMES
    ]
    if unknown:
        raise ValueError(f"safetensors files have no such tensors: {unknown[0]}")
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    ordered = sorted(state, key=lambda name: (-state[name].element_size(), name))  # so each is aligned to its size
    for name in ordered:
        value = state[name]
        stop = end + value.numel() * value.element_size()
        header[name] = {"dtype": _DTYPE_NAMES[value.dtype], "shape": list(value.shape), "data_offsets": [end, stop]}
        end = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for name in ordered:
        value = state[name].detach().cpu().contiguous().reshape(-1)
        file.write(value.view(torch.uint8).numpy().tobytes())


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unrepeated)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"its header is no JSON ({type(error).__name__})") from None
    if not isinstance(header, dict):
        raise ValueError(f"its header must be a table, got {type(header).__name__}")
    return header


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return table


def _place(name: str, entry: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """Dtype, shape, first byte and end of a tensor, from its entry in the header."""
    values = entry if isinstance(entry, dict) else {}
    shape, offsets, dtype = values.get("shape"), values.get("data_offsets"), values.get("dtype")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"the dtype of {_start_of(name)} must be one of {', '.join(_DTYPES)}")
    if not _are_sizes(shape) or len(shape) > _MAX_DIMENSIONS or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{_start_of(name)} must have a shape and two offsets, whole numbers of at least 0")
    num_bytes = math.prod(shape) * _DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != num_bytes:
        raise ValueError(f"{_start_of(name)} needs {num_bytes} bytes, its offsets give {offsets[1] - offsets[0]}")
    return _DTYPES[dtype], tuple(shape), offsets[0], offsets[1]


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _tensor(numbers: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not numbers:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(numbers, dtype=dtype).reshape(shape)


def _start_of(name: str) -> str:
    return repr(name[:_NAME_SHOWN])
