"""Reads files with weights, ours or foreign, without running code in them. Needs only torch."""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epam_model.weights.mmengine_log import ignoring_mmengine_log


class DamagedCheckpointError(ValueError):
    """A checkpoint that is damaged or incomplete."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, ours or foreign, by name; wrappers around them are removed.

    Raises:
        ValueError: the file cannot be read without running code, or contains no tensors by name.
    """
    values = read_weight_file(path)
    for wrapper in ("averaged", "weights", "state_dict", "model_state_dict", "model"):
        if isinstance(values.get(wrapper), dict):
            values = values[wrapper]
            break
    state = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{path}: contains no weights; its entries are {', '.join(map(str, values)) or 'none'}")
    return state


def read_weight_file(path: Path) -> dict[str, Any]:
    """All entries of a file that `torch.save` wrote, on the CPU, with `weights_only=True`: the file cannot run code.

    Raises:
        DamagedCheckpointError: the file is truncated, or a byte of it has changed.
        ValueError: there is no such file, its pickle could run code, or it does not contain a dict.
    """
    try:
        _check_bytes(path)
        with ignoring_mmengine_log():
            values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path}: refused, its pickle uses {found[1]} and could run code; save only the state dict"
            ) from None
        raise DamagedCheckpointError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a checkpoint must contain a dict, got {type(values).__name__}")
    return values


def _check_bytes(path: Path) -> None:
    """Compare each record of the zip file with its CRC-32, which torch writes but does not check."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if (name := file.testzip()) is not None:
                raise zipfile.BadZipFile(f"{name} is damaged")
