"""Reads checkpoints of MMEngine without its log: the classes that the log's pickle names are never loaded or run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _Ignored:
    """Placeholder for each object of the log; accepts any arguments and state."""

    def __new__(cls, *_: object) -> _Ignored:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_NAMES = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    *(f"{core}.multiarray.{name}" for core in ("numpy.core", "numpy._core") for name in ("_reconstruct", "scalar")),
    "numpy.dtype",
    "numpy.ndarray",
    "_codecs.encode",
    "builtins.getattr",
    "__builtin__.getattr",
)


@contextmanager
def ignoring_mmengine_log() -> Iterator[None]:
    """Inside, `torch.load(..., weights_only=True)` reads such files; before torch 2.6, torch still refuses them."""
    if torch.__version__ < "2.6":
        yield
        return
    # Set aside the globals that others allowed: of two for one name, torch would use either.
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals([(_Ignored, name) for name in _NAMES]):
            yield
    finally:
        torch.serialization.add_safe_globals(others)
