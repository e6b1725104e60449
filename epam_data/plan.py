"""What a build will do: a pure function of the clips and the settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from epam_data.prepare import PrepareSettings
from epam_data.randomness import Purpose, generator
from epam_data.readers import READERS, RawSettings
from epam_data.schema import SCHEMA_VERSION, SPLITS
from epam_data.shard import ShardSettings
from epam_data.store import SkeletonStore
from epam_data.video import VideoFinder

WORK_FOLDER = ".build"  # inside the output: the skeleton store, the receipts of finished shards, the lock

_TOOLS = (
    "epam",
    "numpy",
    "av",
    "decord2",
    "simplejpeg",
    "zstandard",
    "h5py",
)  # their versions may change the bytes of a shard


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """What one clip may cost before it is given up."""

    clip_seconds: float = 120.0
    """A clip that takes longer is skipped; its process is killed."""
    process_mb: int = 2048
    """Memory that a decoding process may allocate, in 10^6 bytes; a clip that wants more is skipped."""

    def __post_init__(self) -> None:
        if not self.clip_seconds > 0:
            raise ValueError(f"limits.clip_seconds must be > 0, got {self.clip_seconds}")
        if self.process_mb < 256:
            raise ValueError(f"limits.process_mb must be >= 256, got {self.process_mb}")


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What to build: everything that the bytes of the shards depend on, and where they go."""

    dataset: str
    raw: RawSettings
    prepare: PrepareSettings
    shard: ShardSettings
    out: Path
    limits: ClipLimits = field(default_factory=ClipLimits)

    def __post_init__(self) -> None:
        if self.dataset not in READERS:
            raise ValueError(f"dataset must be one of {', '.join(READERS)}, got {self.dataset!r}")

    @property
    def work_folder(self) -> Path:
        """Where a build keeps what outlives an interruption."""
        return self.out / WORK_FOLDER

    @property
    def store(self) -> Path:
        """The skeleton store."""
        return self.work_folder / "skeletons.h5"

    def receipt(self, shard_name: str) -> Path:
        """The receipt of one finished shard."""
        return self.work_folder / "receipts" / f"{shard_name}.json"

    def inputs(self, sources: dict[str, str]) -> dict[str, Any]:
        """Everything that the shards depend on but the recordings themselves; a build goes on with the same only."""
        return {
            "schema": SCHEMA_VERSION,
            "dataset": self.dataset,
            "protocol": self.raw.protocol,
            "prepare": asdict(self.prepare),
            "shard": asdict(self.shard),
            "sources": sources,
            "versions": tool_versions(),
        }


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to build."""

    name: str
    split: str
    rows: tuple[int, ...]  # of the skeleton store
    videos: tuple[str | None, ...]  # below `raw.videos`, one per row; None: not found
    fingerprint: str  # hash of everything that the shard's bytes depend on


def plan_tasks(plan: BuildPlan, store: SkeletonStore, sources: dict[str, str]) -> list[ShardTask]:
    """Shuffle the clips of each split by the seed and cut them into shards."""
    finder = VideoFinder(plan.raw.videos)
    inputs = plan.inputs(sources)
    tasks = []
    for number, split in enumerate(SPLITS):
        rows = store.rows_of_split(split)
        generator(Purpose.SHARD_ASSIGNMENT, plan.shard.shuffle_seed, number).shuffle(rows)
        for start in range(0, len(rows), plan.shard.samples_per_shard):
            chosen = tuple(rows[start : start + plan.shard.samples_per_shard].tolist())
            videos = tuple(finder.find(store.names[row]) for row in chosen)
            what = {**inputs, "keys": [store.keys[row] for row in chosen], "videos": videos}
            tasks.append(
                ShardTask(
                    name=f"{split}-{start // plan.shard.samples_per_shard:06d}",
                    split=split,
                    rows=chosen,
                    videos=videos,
                    fingerprint=hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest(),
                )
            )
    if not tasks:
        raise ValueError(f"{plan.raw.skeletons}: no usable clip of protocol {plan.raw.protocol!r}")
    return tasks


def tool_versions() -> dict[str, str]:
    """Versions of this package and of the libraries that the bytes of a shard depend on."""
    return {name: version(name) for name in _TOOLS}


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Which values differ between two tables of settings, as `key: old -> new`."""
    lines = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
