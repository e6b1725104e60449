"""`--resume` under torch >= 2.6, which reads a pickle only if it knows each name in it: those of MMEngine's own log."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ("min", "max", "current", "mean")


def let_torch_read_the_log() -> None:
    """Tell torch of the log's classes, so that no environment variable has to let it run whatever a file says."""
    if torch.__version__ < "2.6":
        return
    reconstruct: Any = np.empty(0).__reduce__()[0]  # by NumPy's own pickles: no private module is imported here
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
    """The log holds methods of `HistoryBuffer`; no other attribute of anything is given out."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise ValueError(f"refused: a checkpoint asks for {owner!r}.{name}")
    return getattr(HistoryBuffer, name)
