"""Reads files with weights, ours or foreign, without running code in them. Needs only torch."""

from __future__ import annotations

import json
import pickle
import re
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epam_model.weights.file_kind import check_archive, not_a_file, other_kind
from epam_model.weights.mmengine_log import ignoring_mmengine_log
from epam_model.weights.safetensors_file import is_safetensors, read_safetensors
from epam_model.weights.wrappers import find_state

_SHOWN = 10  # entries that a message lists
_MAX_NAME = 100  # characters of a name in a message

_DAMAGE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, zlib.error, struct.error),
    *(AssertionError, AttributeError, IndexError, KeyError, TypeError, OverflowError, MemoryError, UnicodeError),
)
"""What torch raises for bytes that it did not write."""


class DamagedCheckpointError(ValueError):
    """A checkpoint that is damaged or incomplete."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, ours or foreign, by name; the entries around them are removed (`find_state`).

    Raises:
        ValueError: the file cannot be read without running code, or contains no tensors by name, or one that cannot be
            a weight.
    """
    return state_in(read_weight_file(path), path)


def state_in(values: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The same from the entries of a file, as `read_weight_file` returns them."""
    if not (state := find_state(values)):
        entries = ", ".join(_shown(name) for name in list(values)[:_SHOWN])
        raise ValueError(f"{path}: contains no weights by name; its entries are {entries or 'none'}")
    for name, value in state.items():
        if (fault := tensor_fault(value)) is not None:
            raise ValueError(f"{path}: {_shown(name)} is {fault}")
    return state


def tensor_fault(value: Tensor) -> str | None:
    """Why a tensor cannot be a weight: found without reading its numbers, except whether they are finite."""
    if value.is_nested or value.layout != torch.strided:
        return "a nested or sparse tensor, expected a dense one"
    if value.is_meta or value.is_quantized or value.is_complex():
        return "a tensor without numbers, of quantised or of complex numbers, expected real ones"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"a tensor of {tuple(value.shape)} that repeats fewer numbers than it has"
    try:
        torch.empty(1, dtype=value.dtype).double()
    except NotImplementedError:  # numbers of fewer than 8 bits
        return f"of {value.dtype}, which cannot be converted to float32"
    numbers = value.float() if value.element_size() == 1 else value  # `isfinite` does not know float8
    if value.is_floating_point() and not numbers.isfinite().all():
        return "not finite: it holds NaN or infinity"
    return None


def read_weight_file(path: Path) -> dict[str, Any]:
    """All entries of a file that `torch.save` wrote, on the CPU, with `weights_only=True`: the file cannot run code.

    Of a safetensors file, the tensors are the entry `state_dict`, and metadata in JSON are entries too.

    Raises:
        DamagedCheckpointError: the file is truncated, or a byte of it has changed (safetensors has no checksum).
        ValueError: there is no such file, its pickle could run code, or it does not contain a dict.
    """
    try:
        if (kind := not_a_file(path)) is not None:
            raise DamagedCheckpointError(f"{path}: not a checkpoint but {kind}")
        if is_safetensors(path):
            return _read_safetensors(path)
        if (kind := other_kind(path)) is not None:
            raise DamagedCheckpointError(f"{path}: not a checkpoint but {kind}")
        if zipfile.is_zipfile(path):
            check_archive(path)
        values = _load(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint") from None
    except _DAMAGE as error:
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path}: refused, its pickle uses {found[1]} and could run code; save only the state dict"
            ) from None
        why = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        raise DamagedCheckpointError(f"{path}: not a readable checkpoint ({why})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a checkpoint must contain a dict, got {type(values).__name__}")
    return values


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        state, metadata = read_safetensors(path)
    except ValueError as error:
        raise DamagedCheckpointError(f"{path}: not a readable safetensors file: {error}") from None
    values: dict[str, Any] = {}
    for name, text in metadata.items():
        with suppress(ValueError, RecursionError):  # text of others, which is no entry of a checkpoint
            values[name] = json.loads(text)
    return {**values, "state_dict": state}


def _shown(name: object) -> str:
    """A name from a file, in one line of bounded length: this module must not need `epam_data`."""
    return repr(name[:_MAX_NAME]) if isinstance(name, str) else type(name).__name__


def _load(path: Path) -> Any:
    try:
        with ignoring_mmengine_log():
            return torch.load(path, map_location="cpu", weights_only=True)
    except ValueError as error:  # a number or an order of bytes that does not exist; torch does not name the file
        raise DamagedCheckpointError(f"{path}: not a readable checkpoint ({_shown(str(error))})") from error
