"""The plan of a build: a pure function of the clips and the settings."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from epam_data.build.output import WORK_FOLDER, Output, open_output
from epam_data.build.skeleton_store import SkeletonStore
from epam_data.randomness import Purpose, generator
from epam_data.readers import RawSettings, find_reader
from epam_data.readers.videos import VideoFinder
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import SCHEMA_VERSION, STORED_SPLITS, Problem, Split
from epam_data.shards.layout import PROBLEMS
from epam_data.shards.settings import ShardSettings
from epam_data.skeleton import SkeletonLayout
from epam_data.system.checked_fields import check_fields
from epam_data.system.remote import is_url
from epam_data.taxonomy import Taxonomy
from epam_data.versions import tool_versions

_SHOWN_KINDS = 5


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """Limits at which a clip is skipped."""

    clip_seconds: Annotated[float, Gt(0)] = 120.0
    """Seconds per clip; a clip that takes longer is skipped, and its process is killed."""
    process_mb: Annotated[int, Ge(256)] = 2048
    """Memory of a decoding process in 10^6 bytes; a clip that needs more is skipped."""

    def __post_init__(self) -> None:
        check_fields(self, "limits")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which clips of the data set to build; the default is all."""

    split: Split | None = None
    """Build this split only."""
    only: tuple[str, ...] = ()
    """Build these clips only: --only KEY KEY ..."""
    limit: Annotated[int, Ge(1)] | None = None
    """Build at most this many clips of those, chosen at random by `shard.shuffle_seed`, for a quick look."""

    def __post_init__(self) -> None:
        check_fields(self)

    def is_whole(self, split: str) -> bool:
        """Whether all clips of a split are selected."""
        return not self.only and self.limit is None and self.split in (None, split)


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What to build: everything that the bytes of the shards depend on, and where they go."""

    dataset: str
    raw: RawSettings
    prepare: PrepareSettings
    shard: ShardSettings
    out: Path | str
    """A folder, or an fsspec URL."""
    work: Path | None = None
    """For a URL: a folder that all workers of the build see. A folder keeps its own, `.build`."""
    limits: ClipLimits = field(default_factory=ClipLimits)
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        # Fails early for an unknown reader, and caches the values in the plan: workers need no custom reader's module.
        _ = self.layout, self.taxonomy
        if is_url(self.out) and self.work is None:
            raise ValueError(f"out is the URL {self.out}: give --work FOLDER, for the skeleton store and the lock")
        if self.work is not None and not is_url(self.out):
            raise ValueError(f"work is only for an out that is a URL; the folder {self.out} uses its own {WORK_FOLDER}")

    @property
    def work_folder(self) -> Path:
        """Folder of the skeleton store, the lock and the progress notes."""
        return self.work or Path(self.out) / WORK_FOLDER

    @property
    def store(self) -> Path:
        """The skeleton store."""
        return self.work_folder / "skeletons.h5"

    @cached_property
    def layout(self) -> SkeletonLayout:
        """The joints."""
        return find_reader(self.dataset).layout

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The classes."""
        return find_reader(self.dataset).taxonomy

    @cached_property
    def output(self) -> Output:
        """Destination of shards, receipts, index and manifest."""
        return open_output(self.out, self.work_folder)

    def inputs(self, sources: dict[str, str]) -> dict[str, Any]:
        """Everything that a shard depends on, except its clips and their recordings."""
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
    videos: tuple[str | None, ...]  # paths relative to `raw.videos`, one per row; None: not found
    fingerprint: str  # hash of everything that the shard's bytes depend on


def clips_of(tasks: Iterable[ShardTask]) -> Iterator[tuple[int, str | None]]:
    """(row of the skeleton store, video or None) of each clip, in the order in which they are built."""
    for task in tasks:
        yield from zip(task.rows, task.videos, strict=True)


def plan_tasks(plan: BuildPlan, store: SkeletonStore, sources: dict[str, str]) -> list[ShardTask]:
    """Shuffle the clips of each split by the seed and cut them into shards.

    Raises:
        ValueError: no clip is selected, or `plan.selection` names a key that the data set does not have.
    """
    finder = VideoFinder(plan.raw.videos)
    inputs = json.dumps(plan.inputs(sources), sort_keys=True)
    chosen = select(plan, store)
    tasks = []
    for number, split in enumerate(STORED_SPLITS):
        rows = store.rows_of_split(split)
        generator(Purpose.SHARD_ASSIGNMENT, plan.shard.shuffle_seed, number).shuffle(rows)
        rows = rows[chosen[rows]]
        for start in range(0, len(rows), plan.shard.samples_per_shard):
            of_shard = tuple(rows[start : start + plan.shard.samples_per_shard].tolist())
            videos = tuple(finder.find(store.names[row]) for row in of_shard)
            what = json.dumps({"keys": [store.keys[row] for row in of_shard], "videos": videos})
            tasks.append(
                ShardTask(
                    name=f"{split}-{start // plan.shard.samples_per_shard:06d}",
                    split=split,
                    rows=of_shard,
                    videos=videos,
                    fingerprint=hashlib.sha256(f"{inputs}{what}".encode()).hexdigest(),
                )
            )
    if not tasks:
        filters = [
            f"{name} {value}"
            for name, value in (("split", plan.selection.split), ("only", plan.selection.only))
            if value
        ]
        filtered = f" with {' and '.join(filters)}" if filters else ""
        raise ValueError(
            f"{plan.raw.skeletons}: no usable clip of protocol {plan.raw.protocol!r}{filtered}{_refused(plan, store)}"
        )
    return tasks


def _refused(plan: BuildPlan, store: SkeletonStore) -> str:
    """Why there is no clip, if every record of the selected splits was refused; else nothing."""
    splits = [split for split in STORED_SPLITS if plan.selection.split in (None, split)]
    problems = [problem for problem in store.problems if problem.split in splits]
    if not problems or any(len(store.rows_of_split(split)) for split in splits):
        return ""
    return describe_problems(problems)


def describe_problems(problems: Sequence[Problem]) -> str:
    """The most frequent reasons, with their counts and an example each, on a line of their own."""
    by_kind = Counter(problem.kind for problem in problems).most_common()
    lines = [f"; all {len(problems)} records were refused:"]
    for kind, count in by_kind[:_SHOWN_KINDS]:
        example = next(problem.reason for problem in problems if problem.kind == kind)
        lines.append(f"{count} x {kind}, such as: {example}")
    if len(by_kind) > _SHOWN_KINDS:
        lines.append(f"and {len(by_kind) - _SHOWN_KINDS} other reasons, see {PROBLEMS}")
    return "\n  ".join(lines)


def select(plan: BuildPlan, store: SkeletonStore) -> NDArray[np.bool_]:
    """(N,) mask of the store's rows that `plan.selection` selects."""
    selection, chosen = plan.selection, np.ones(len(store), bool)
    if selection.split is not None:
        chosen[:] = False
        chosen[store.rows_of_split(selection.split)] = True
    if selection.only:
        unknown = set(selection.only).difference(store.keys)
        if unknown:
            refused = {problem.name.rpartition("/")[2]: problem.reason for problem in store.problems}
            what = "; ".join(refused.get(key) or _with_nearest(key, store.keys) for key in sorted(unknown))
            raise ValueError(f"only: {what}")
        wanted = frozenset(selection.only)
        chosen &= np.fromiter((key in wanted for key in store.keys), bool, len(store))
    if selection.limit is not None:
        rows = np.flatnonzero(chosen)
        generator(Purpose.SELECTION, plan.shard.shuffle_seed).shuffle(rows)
        chosen[rows[selection.limit :]] = False
    return chosen


def _with_nearest(key: str, keys: list[str]) -> str:
    near = difflib.get_close_matches(key, keys, n=1)
    return f"the data set has no clip {key}" + (f"; did you mean {near[0]}?" if near else "")
