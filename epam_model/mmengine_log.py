"""Checkpoints of MMEngine hold its log beside the weights: what that pickle names is read as nothing, and never run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

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


def passing_over_the_log() -> AbstractContextManager[None]:
    """Inside, `torch.load(..., weights_only=True)` reads such files; before torch 2.6 it refuses them, as ever."""
    if torch.__version__ < "2.6":
        return nullcontext()
    return torch.serialization.safe_globals([(_Nothing, name) for name in _NAMES])
