"""Open skeleton pickles safely: arrays, numbers, strings and builtin containers, nothing else."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def _encode(text: str, encoding: str) -> bytes:
    """Old pickle protocols store bytes as latin1 text and a call of this; no other codec is allowed."""
    if encoding != "latin1":
        raise ValueError(f"refused the codec {encoding!r}")
    return text.encode("latin1")


def _numpy_globals() -> dict[tuple[str, str], Any]:
    # Pickled arrays name these functions by NumPy's module at the time: numpy.core (1.x) or numpy._core (2.x).
    # Taking the functions from pickled values avoids importing a private module.
    reconstruct: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]
    scalar: Callable[..., Any] = np.float32(0).__reduce__()[0]  # type: ignore[assignment]
    frombuffer: Callable[..., Any] = np.empty(1).__reduce_ex__(5)[0]  # type: ignore[assignment]
    found: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray", "_reconstruct"] = reconstruct
        found[f"{core}.multiarray", "scalar"] = scalar
        found[f"{core}.numeric", "_frombuffer"] = frombuffer
    return found


_ALLOWED: dict[tuple[str, str], Any] = {
    **_numpy_globals(),
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset, bytearray)},
}


class _RefusedGlobal(ValueError):
    """The pickle names a global that is not allowed."""


class _DataUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, source: str) -> None:
        # latin1 is needed for NumPy arrays in Python 2 pickles.
        super().__init__(file, encoding="latin1")
        self.source = source

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedGlobal(
                f"{self.source}: refused the global {module}.{name}; a skeleton pickle may hold "
                "arrays, numbers, strings and builtin containers only"
            ) from None


def load_pickle(path: Path) -> Any:
    """The content of a pickle, without running any code from it.

    Raises:
        ValueError: the file names a global that is not allowed, or is not a complete pickle.
    """
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file, path.name).load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file, expected a skeleton pickle") from None
    except _RefusedGlobal:
        raise
    except (
        *(pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError),
        *(OverflowError, MemoryError, SystemError),  # damaged bytes may request any size or confuse NumPy
    ) as error:
        raise ValueError(f"{path.name}: not a complete pickle ({error})") from error
