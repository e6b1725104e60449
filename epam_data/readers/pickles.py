"""Open skeleton pickles safely: arrays, numbers, strings and builtin containers, nothing else.

A pickle is a program. This one may only build plain values: the names that it uses for arrays stand for functions of
this module, which check every size against the bytes at hand. Arrays of anything but numbers and text are left empty,
so that they cost only the record that has one. What a hostile file can still do is use memory and time, so files are
read in a process with limits, see `epam_data.readers.limits`.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from epam_data.readers.file_kind import START_BYTES, other_kind
from epam_data.system.file_reads import IrregularFileError, open_regular
from epam_data.system.printable import printable

_KINDS = "biufcSUmM"  # fixed-size numbers and times, and strings of fixed length
_MAX_ITEM_BYTES = 1 << 20
_MAX_DIMENSIONS = 32
_NO_SHAPE = (0, 0)  # of an array that is left empty: neither that of skeletons nor that of a list


class _Name:
    """What a name in a pickle stands for: a function, or nothing if the name may only be mentioned.

    A pickle can set attributes of what it names, so this has none, and takes no state.
    """

    __slots__ = ("_function", "_name")

    def __init__(self, name: str, function: Callable[..., Any] | None = None) -> None:
        self._name, self._function = name, function

    def __call__(self, *arguments: Any) -> Any:
        if self._function is None:
            raise ValueError(f"{self._name} is not callable here")
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError(f"a state for {self._name}")

    def __repr__(self) -> str:
        return self._name


_NDARRAY = _Name("numpy.ndarray")


class _DType:
    """Stands for `numpy.dtype`: the name comes first, its byte order with the state."""

    __slots__ = ("dtype",)

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or len(name) > 8:
            raise ValueError("a dtype without a short name")
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "OV":  # objects and structures: only for arrays that stay empty
            _checked(self.dtype)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("the state of a dtype is not that of a number")
        if self.dtype.kind == "V":  # whatever its fields are, they are not built
            return
        if any(part is not None for part in state[2:5]):  # subarrays, names and fields
            raise ValueError("a structured dtype")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """What `_reconstruct` makes: an empty array, which takes shape, dtype and bytes from a state that is checked."""

    def __reduce_ex__(self, protocol: Any) -> Any:  # pickled again, it is a plain array
        return np.asarray(self).__reduce_ex__(protocol)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("the state of an array must have five parts")
        _, shape, dtype, is_fortran, data = state
        kind = _dtype_of(dtype).kind
        if kind == "V" or (kind == "O" and isinstance(data, list)):
            texts = data if kind == "O" and _is_list_of_texts(data, shape) else None
            kept = _NO_SHAPE if texts is None else shape
            super().__setstate__((1, kept, np.dtype(object), False, texts or []))  # type: ignore[arg-type]
            return
        checked = _checked(_dtype_of(dtype))
        if isinstance(data, str):  # Python 2
            data = data.encode("latin1")
        _check_size(shape, checked, data)
        super().__setstate__((1, shape, checked, bool(is_fortran), bytes(data)))  # type: ignore[arg-type]


_Array.__name__ = "ndarray"  # as messages name it


def _is_list_of_texts(values: Any, shape: object) -> bool:
    """Whether these are names, which pandas gives as an array of objects."""
    return shape == (len(values),) and all(type(value) is str for value in values)


def _dtype_of(stand_in: object) -> np.dtype[Any]:
    if not isinstance(stand_in, _DType):
        raise ValueError("an array without a dtype")
    return stand_in.dtype


def _checked(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in _KINDS or not 0 < dtype.itemsize <= _MAX_ITEM_BYTES:
        raise ValueError(f"an array of {dtype.name}, expected numbers")
    return dtype


def _check_size(shape: object, dtype: np.dtype[Any], data: object) -> None:
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("the shape of an array must be a tuple of a few numbers")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("the shape of an array must be numbers >= 0")
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError(f"an array of {type(data).__name__}, expected bytes")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of {len(data)} bytes cannot have its shape and dtype")


def _reconstruct(kind: object, *_: object) -> np.ndarray:
    if kind is not _NDARRAY:
        raise ValueError("an array of an unknown type")
    return np.ndarray.__new__(_Array, (0,), np.uint8)


def _scalar(dtype: object, data: object = b"") -> Any:
    if _dtype_of(dtype).kind == "V":
        return None
    checked = _checked(_dtype_of(dtype))
    if isinstance(data, str):
        data = data.encode("latin1")
    _check_size((), checked, data)
    return np.frombuffer(data, checked)[0]  # type: ignore[call-overload]


def _frombuffer(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    if _dtype_of(dtype).kind == "V":
        return np.empty(_NO_SHAPE, object)
    checked = _checked(_dtype_of(dtype))
    _check_size(shape, checked, data)
    flat = np.frombuffer(data, checked)  # type: ignore[call-overload]
    array: np.ndarray = flat.reshape(shape, order="F" if order == "F" else "C")
    return array


def _encode(text: object, encoding: object) -> bytes:
    """Old pickle protocols store bytes as latin1 text and a call of this; no other codec is allowed."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError(f"refused the codec {str(encoding)[:20]!r}")
    return text.encode("latin1")


def _bytearray(data: object = b"", encoding: object = "latin-1") -> bytearray:
    if isinstance(data, str) and encoding == "latin-1":
        data = data.encode("latin1")
    if not isinstance(data, bytes):  # a number would make as many zeros
        raise ValueError(f"a bytearray of {type(data).__name__}, expected bytes")
    return bytearray(data)


def _collection(kind: type) -> Callable[..., Any]:
    def collection(values: object = ()) -> Any:
        if not isinstance(values, (list, tuple)):
            raise ValueError(f"a {kind.__name__} of {type(values).__name__}, expected a list")
        return kind(values)

    return collection


def _bytes(data: object = b"") -> bytes:
    """Old pickle protocols store no bytes at all as a call of `bytes`."""
    if not isinstance(data, bytes):  # a number would make as many zeros
        raise ValueError(f"bytes of {type(data).__name__}, expected bytes")
    return data


def _complex(real: object = 0.0, imaginary: object = 0.0) -> complex:
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise ValueError("a complex number must have two numbers")
    return complex(real, imaginary)


def _defaultdict(*_: object) -> dict[Any, Any]:
    """A plain dict: its factory would only make values for keys that nobody asks for."""
    return {}


def _allowed() -> dict[tuple[str, str], Any]:
    functions: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "dtype"): _DType,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _collection(dict),  # dicts keep their order, and have no attributes to set
        ("collections", "defaultdict"): _defaultdict,
    }
    for core in ("numpy.core", "numpy._core"):  # NumPy 1.x and 2.x
        functions[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        functions[f"{core}.multiarray", "scalar"] = _scalar
        functions[f"{core}.numeric", "_frombuffer"] = _frombuffer
    found: dict[tuple[str, str], Any] = {("numpy", "ndarray"): _NDARRAY}
    for builtins in ("builtins", "__builtin__"):
        functions |= {(builtins, "bytearray"): _bytearray, (builtins, "bytes"): _bytes, (builtins, "complex"): _complex}
        functions |= {(builtins, kind.__name__): _collection(kind) for kind in (set, frozenset)}
        found |= {(builtins, kind.__name__): _Name(kind.__name__) for kind in (dict, list, int, float, str)}
    return found | {key: _Name(".".join(key), function) for key, function in functions.items()}


_ALLOWED = _allowed()


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
            shown = printable(f"{module[:60]}.{name[:60]}")
            raise _RefusedGlobal(
                f"{self.source}: refused the global {shown}; a skeleton pickle may hold "
                f"arrays, numbers, strings and builtin containers only{_hint(module)}"
            ) from None


def _hint(module: str) -> str:
    """What to do about a type that skeleton files often have."""
    return ": save tensors as arrays, tensor.numpy()" if module.partition(".")[0] == "torch" else ""


def load_pickle(path: Path) -> Any:
    """The content of a pickle, without running any code from it.

    Raises:
        ValueError: the file names a global that is not allowed, is not a complete pickle, or is more than one; it is no
            regular file, or a file of another kind, which is named.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            try:
                content = _DataUnpickler(file, path.name).load()
                fault = "the pickle is followed by other data; save one object in a file" if file.read(1) else None
            except (_RefusedGlobal, OSError):
                raise
            except Exception as error:  # damaged bytes may call any method of a value, with any argument
                content, fault = None, _fault(error)
            if fault is None:
                return content
            file.seek(0)
            kind = other_kind(file.read(START_BYTES))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file, expected a skeleton pickle") from None
    except IrregularFileError as error:
        raise ValueError(f"{path}: {str(error.strerror).lower()}, expected a skeleton pickle") from None
    raise ValueError(f"{path.name}: {fault if kind is None else f'not a skeleton pickle but {kind}'}")


def _fault(error: Exception) -> str:
    return f"not a complete pickle ({printable(' '.join(str(error).split()) or type(error).__name__)})"
