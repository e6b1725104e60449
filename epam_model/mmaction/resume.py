"""`--resume` with torch >= 2.6, which reads a checkpoint only if it knows each class in it, such as MMEngine's log."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ("min", "max", "current", "mean")


def allow_mmengine_log() -> None:
    """Allow torch to load the classes of the log, so that no environment variable has to allow all code."""
    if torch.__version__ < "2.6":
        return
    reconstruct: Any = np.empty(0).__reduce__()[0]  # from NumPy's own pickles, without importing a private module
    scalar: Any = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
            *((reconstruct, f"{core}.multiarray._reconstruct") for core in ("numpy.core", "numpy._core")),
            *((scalar, f"{core}.multiarray.scalar") for core in ("numpy.core", "numpy._core")),
            (_encode, "_codecs.encode"),
            *((_statistic, f"{module}.getattr") for module in ("builtins", "__builtin__")),
        ]
    )


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


def _statistic(owner: Any, name: str) -> Any:
    """A method of `HistoryBuffer`, which the log contains; any other attribute is refused."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise ValueError(f"refused, a checkpoint uses {owner!r}.{name}")
    return getattr(HistoryBuffer, name)
