"""Reports the clips of a batch whose loss is NaN or infinite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from epam_data.system.files import atomic_write_bytes
from epam_model.ranks.distributed import gather, own_rank


def write_not_finite(folder: Path, step: int, keys: Sequence[str], values: Mapping[str, float]) -> str:
    """Write `not_finite_step_<step>.json`: for each rank the keys of its clips, and its losses as text.

    Args:
        folder: the run folder.
        step: the step that was not taken.
        keys: keys of this rank's clips.
        values: the values that this rank would have logged.

    Returns:
        One line that names the file.
    """
    path = folder / f"not_finite_step_{step:08d}.json"
    parts = gather((list(keys), {name: str(value) for name, value in values.items()}))
    content = [{"rank": rank, "keys": keys, "values": values} for rank, (keys, values) in enumerate(parts)]
    if own_rank() == 0:
        atomic_write_bytes(path, json.dumps(content, indent=1).encode() + b"\n")
    return f"step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}; its clips are listed in {path}"
