"""Checkpoints of MMEngine hold its log beside the weights: what that pickle names is read as nothing, and never run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _Nothing:
    """What stands for each object of the log, whatever it is made of."""

    def __new__(cls, *_: object) -> _Nothing:
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
def passing_over_the_log() -> Iterator[None]:
    """Inside, `torch.load(..., weights_only=True)` reads such files; before torch 2.6 it refuses them, as ever."""
    if torch.__version__ < "2.6":
        yield
        return
    # What others allow is set aside: of two that stand for one name, torch takes either.
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals([(_Nothing, name) for name in _NAMES]):
            yield
    finally:
        torch.serialization.add_safe_globals(others)
