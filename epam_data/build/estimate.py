"""What a build would cost: counts from the plan, time and bytes from a few clips that are built for the purpose."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from epam_data.build.build_shard import members_or_problem
from epam_data.build.ingest import temporary_store
from epam_data.build.plan import BuildPlan, ShardTask, clips_of, describe_problems, plan_tasks
from epam_data.build.skeleton_store import SkeletonStore
from epam_data.randomness import Purpose, generator
from epam_data.schema import Problem
from epam_data.system.isolated import IsolatedProcess
from epam_data.system.progress import duration, volume

_MEASURED_CLIPS = 6


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What some clips took on one core."""

    num_clips: int
    num_frames: int
    seconds: float
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a build would make and take."""

    num_clips: dict[str, int]  # by split
    num_frames: int  # of the skeletons
    num_shards: int
    num_unread: int  # records of the skeleton files that make no clip
    num_excluded: int  # by the data set itself
    without_video: tuple[str, ...]  # names
    measured: Measured | None  # None: no clip could be built
    failures: tuple[Problem, ...] = ()  # of the clips that were tried

    @property
    def num_bytes(self) -> float | None:
        """Of all shards."""
        return self._scaled(self.measured.num_bytes) if self.measured else None

    @property
    def core_seconds(self) -> float | None:
        """On one core."""
        return self._scaled(self.measured.seconds) if self.measured else None

    def _scaled(self, amount: float) -> float:
        assert self.measured is not None
        return amount / self.measured.num_frames * self.num_frames

    def describe(self, num_workers: int) -> str:
        """Lines for a terminal."""
        clips = ", ".join(f"{split} {count}" for split, count in self.num_clips.items())
        lines = [
            f"{sum(self.num_clips.values())} clips ({clips}), {self.num_frames} frames, {self.num_shards} shards",
        ]
        if self.num_excluded:
            lines.append(f"{self.num_excluded} records are excluded by the data set itself")
        if self.num_unread:
            lines.append(f"{self.num_unread} records make no clip; a build reports each with its reason")
        if self.without_video:
            more = " ..." if len(self.without_video) > 3 else ""
            lines.append(f"{len(self.without_video)} without a video: {', '.join(self.without_video[:3])}{more}")
        if self.failures:
            lines.append(describe_problems(f"{len(self.failures)} of the clips that were tried failed:", self.failures))
        if self.measured is None:
            return "\n".join([*lines, "no clip could be built, so time and size are unknown"])
        assert self.num_bytes is not None and self.core_seconds is not None
        per_clip = self.measured.seconds / self.measured.num_clips
        workers = max(num_workers, 1)
        lines += [
            f"measured on {self.measured.num_clips} clips: {per_clip:.2f} s and "
            f"{volume(self.measured.num_bytes / self.measured.num_clips)} per clip",
            f"about {volume(self.num_bytes)}",
            f"about {duration(self.core_seconds)} on one core, {duration(self.core_seconds / workers)} on {workers}",
        ]
        return "\n".join(lines)


def estimate(plan: BuildPlan) -> Estimate:
    """What `build(plan)` would make and take; writes nothing to its output.

    Raises:
        ValueError: the raw data cannot be used at all.
    """
    with temporary_store(plan) as (store, sources):
        tasks = plan_tasks(plan, store, sources)
        frames = store.num_frames
        unread = Counter(p.action for p in store.problems if plan.selection.is_whole(p.split))
        num_clips: Counter[str] = Counter()
        for task in tasks:
            num_clips[task.split] += len(task.rows)
        measured, failures = measure(plan, store, tasks)
        return Estimate(
            num_clips=dict(num_clips),
            num_frames=sum(int(frames[list(task.rows)].sum()) for task in tasks),
            num_shards=len(tasks),
            num_unread=unread["skipped"],
            num_excluded=unread["excluded"],
            without_video=tuple(store.names[row] for row, video in clips_of(tasks) if video is None),
            measured=measured,
            failures=tuple(failures),
        )


def measure(
    plan: BuildPlan, store: SkeletonStore, tasks: list[ShardTask], num_clips: int = _MEASURED_CLIPS
) -> tuple[Measured | None, list[Problem]]:
    """Build a few random clips, one after another in one process, and forget them.

    Returns:
        What those with a video took, None if not one can be built; and the problems of those that cannot. If there is
        no video at all, those of some clips without.
    """
    clips = list(clips_of(tasks))
    found = [(row, video) for row, video in clips if video] or clips
    chosen = generator(Purpose.ESTIMATE, plan.shard.shuffle_seed).permutation(len(found))[: 2 * num_clips]
    process = IsolatedProcess(timeout_seconds=plan.limits.clip_seconds, memory_bytes=plan.limits.process_mb * 1_000_000)
    taken: list[tuple[int, float, int]] = []  # frames, seconds, bytes
    failures: list[Problem] = []
    try:
        for number in chosen.tolist():
            row, video = found[number]
            begun = time.monotonic()
            made = members_or_problem(process, plan, store.clip(row, plan.raw.videos / video if video else None))
            if isinstance(made, Problem):
                failures.append(made)
                continue
            info, members, _ = made
            taken.append((info.num_frames, time.monotonic() - begun, sum(map(len, members.values()))))
            if len(taken) > num_clips:
                break
    finally:
        process.close()
    timed = taken[1:] or taken  # the first has waited for the process to start
    if not timed:
        return None, failures
    num_frames, seconds, num_bytes = (sum(column) for column in zip(*timed, strict=True))
    measured = Measured(num_clips=len(timed), num_frames=int(num_frames), seconds=seconds, num_bytes=int(num_bytes))
    return measured, failures
