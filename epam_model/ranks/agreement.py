"""Refuse, before the first step, ranks that would do different work: figures would be wrong, or ranks would hang."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epam_data import __version__
from epam_data.stream import Stream
from epam_data.system.files import file_sha256
from epam_model.ranks.distributed import gather

_OF_THE_MACHINE = frozenset({"workers", "timeout_seconds", "cache_dir", "cache_bytes", "num_threads"})
"""Settings that change no number; the machines of a cluster may need different ones."""

_MOST_SHOWN = 5


def check_ranks_agree(facts: Mapping[str, Any]) -> None:
    """Compare what must be the same on all ranks; all ranks must call it.

    Args:
        facts: values by the name that an error shows, such as `stream.batch_size`.

    Raises:
        ValueError: on every rank, if a value differs; says which ranks have which value.
    """
    every = gather({name: repr(value) for name, value in facts.items()})
    names = dict.fromkeys(name for each in every for name in each)
    differences = []
    for name in names:
        ranks_by_value: dict[str, list[int]] = {}
        for rank, each in enumerate(every):
            ranks_by_value.setdefault(each.get(name, "absent"), []).append(rank)
        if len(ranks_by_value) > 1:
            values = (f"{value} on {_ranks(ranks)}" for value, ranks in ranks_by_value.items())
            differences.append(f"{name} is {', '.join(values)}")
    if differences:
        more = f"; and {len(differences) - _MOST_SHOWN} more" if len(differences) > _MOST_SHOWN else ""
        raise ValueError(f"the ranks do not agree: {'; '.join(differences[:_MOST_SHOWN])}{more}")


def settings_facts(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a section of the recipe that ranks must agree on."""
    return {f"{section}.{name}": value for name, value in settings.items() if name not in _OF_THE_MACHINE}


def stream_facts(stream: Stream) -> dict[str, Any]:
    """What ranks must agree on about a stream: the shards, what is cut from them, and the versions that cut it."""
    return {
        "epam": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "manifest.json of the shards (SHA-256)": hashlib.sha256(stream.manifest.to_json()).hexdigest()[:16],
        "split": stream.split,
        f"clips of {stream.split}": stream.num_samples,
        "clips of the view (SHA-256)": stream.view_sha256[:16],
        **settings_facts("stream", asdict(stream.settings)),
        "seed of the stream": stream.seed,
    }


def file_facts(path: Path) -> dict[str, Any]:
    """The content of a file that all ranks read; `absent` without one, which is reported where it is read."""
    if not path.is_file():
        return {path.name: "absent"}
    return {path.name: f"SHA-256 {file_sha256(path)[:16]}"}


def _ranks(numbers: list[int]) -> str:
    """Ranks as words: `rank 3`, `ranks 0-6`, `ranks 0, 2`."""
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"ranks {numbers[0]}-{numbers[-1]}"
    return f"ranks {', '.join(map(str, numbers))}"
