"""A batch whose loss is NaN or infinite: which clips it holds, for whoever looks for the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from epam_data.system.files import atomic_write_bytes
from epam_model.ranks.distributed import gather, own_rank


def write_not_finite(folder: Path, step: int, keys: Sequence[str], values: Mapping[str, float]) -> str:
    """Write `not_finite_step_<step>.json`: for each rank the keys of its clips, and its losses as text.

    Args:
        folder: the run's.
        step: the step that was not taken.
        keys: of this rank's clips.
        values: what the step would have logged, of this rank.

    Returns:
        One line that says where it is.
    """
    path = folder / f"not_finite_step_{step:08d}.json"
    parts = gather((list(keys), {name: str(value) for name, value in values.items()}))
    content = [{"rank": rank, "keys": keys, "values": values} for rank, (keys, values) in enumerate(parts)]
    if own_rank() == 0:
        atomic_write_bytes(path, json.dumps(content, indent=1).encode() + b"\n")
    return f"step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}; its clips are listed in {path}"
