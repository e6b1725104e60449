"""Pilot: build some random clips of the real data in a scratch folder, and say what the whole would be."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from epam_data.build.build import BuildOptions, build
from epam_data.build.estimate import measure
from epam_data.build.ingest import ingest
from epam_data.build.plan import BuildPlan, ShardTask, clips_of, plan_tasks
from epam_data.build.receipts import read_receipts
from epam_data.build.skeleton_store import SkeletonStore
from epam_data.check.check import CheckSettings, check
from epam_data.readers.videos import VideoFinder
from epam_data.samples.prepare import prepare
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Problem
from epam_data.shards.codec import encode
from epam_data.system.checked_fields import check_fields
from epam_data.system.executors import ExecutorSettings, run
from epam_data.system.progress import OnProgress, duration, silent, volume

_SHARD_BYTES = 200e6  # large enough for sequential reads, small enough to fetch, cache and build again
_UNUSUAL_RATIO = 8.0  # of a file's bytes per frame to the median
_CORES = (1, 16, 64, 256)


@dataclass(frozen=True, kw_only=True)
class PilotSettings:
    """What a pilot builds and compares."""

    clips: Annotated[int, Ge(1)] = 100
    """Random clips to build."""
    sizes_px: tuple[int, ...] = (224, 256)
    """Frame sizes to compare; heatmaps have a quarter of them."""
    jpeg_qualities: tuple[int, ...] = (80, 90, 95)
    """JPEG qualities to compare."""
    compared_clips: Annotated[int, Ge(1)] = 12
    """Clips to build in every size and quality."""

    def __post_init__(self) -> None:
        check_fields(self, "pilot")
        for name in ("sizes_px", "jpeg_qualities"):
            if not getattr(self, name):
                raise ValueError(f"pilot.{name} must name at least one value")


@dataclass(frozen=True, kw_only=True)
class Files:
    """How the videos fit the skeletons."""

    num_clips: int
    without_video: list[str]  # names of clips
    without_clip: list[str]  # files below the video folder
    empty: list[str]  # files of 0 bytes that a clip names
    unusual: list[str]  # files whose bytes per frame are far from the median: cut off, another video, another codec


@dataclass(frozen=True, kw_only=True)
class PilotReport:
    """What a pilot found."""

    files: Files
    num_tried: int
    num_built: int
    skipped: dict[str, int]  # by reason
    mended: dict[str, int]
    findings: list[str]  # of `check` over the clips that were built
    core_seconds: float  # to build all on one core
    num_clips: int  # of the whole data set
    whole_bytes: dict[str, float]  # by setting: "224 px, quality 90"
    bytes_per_clip: float  # with the recipe's own setting
    samples_per_shard: int  # advice

    def describe(self) -> str:
        """Lines for a terminal."""
        return "\n".join([*self._files(), *self._failures(), *self._cost()])

    def _files(self) -> Iterator[str]:
        files = self.files
        yield f"files: {files.num_clips} clips with skeletons"
        for names, what in (
            (files.without_video, "clips without a video"),
            (files.without_clip, "files without a clip"),
            (files.empty, "empty files"),
            (files.unusual, f"files of unusual size ({_UNUSUAL_RATIO:g} times off the median bytes per frame)"),
        ):
            if names:
                yield f"  {len(names)} {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"

    def _failures(self) -> Iterator[str]:
        from scipy.stats import binomtest  # not above: it takes most of a second to load, and each worker loads us

        failed = self.num_tried - self.num_built
        if self.num_tried:
            low, high = binomtest(failed, self.num_tried).proportion_ci(0.95)
            whole = f"{low * self.num_clips:.0f} to {high * self.num_clips:.0f} of {self.num_clips}"
            yield f"built {self.num_built} of {self.num_tried} random clips; of all, {whole} would fail (95 %)"
        for reasons, action in ((self.skipped, "skipped"), (self.mended, "mended")):
            for reason, count in reasons.items():
                yield f"  {count} {action}: {reason}"
        yield f"check: {len(self.findings)} problems in the shards of these clips"
        yield from (f"  {finding}" for finding in self.findings[:10])

    def _cost(self) -> Iterator[str]:
        if not self.num_built:
            yield "no clip could be built, so time and size are unknown"
            return
        seconds = self.core_seconds
        cores = sorted({*_CORES, os.cpu_count() or 1})
        times = ", ".join(f"{duration(seconds / count)} on {count}" for count in cores)
        yield f"time: {seconds / self.num_clips:.2f} s per clip and core; all: {times} cores like these"
        for setting, num_bytes in self.whole_bytes.items():
            yield f"size: {volume(num_bytes)} with {setting}"
        shards = -(-self.num_clips // self.samples_per_shard)
        yield (
            f"shards: {self.samples_per_shard} clips make about "
            f"{volume(self.samples_per_shard * self.bytes_per_clip)}, {shards} shards; "
            f"--shard.samples_per_shard {self.samples_per_shard}"
        )


def pilot(
    plan: BuildPlan, settings: PilotSettings, where: ExecutorSettings, progress: OnProgress = silent
) -> PilotReport:
    """Build `settings.clips` random clips of a data set and say what the whole would be.

    Args:
        plan: of the whole; `plan.out` is the scratch folder.
        settings: how many clips, and which settings to compare.
        where: where clips are built.
        progress: is told of the clips that are built.

    Raises:
        ValueError: the raw data cannot be used at all.
    """
    few = _plan_of_few(plan, settings, where)
    report = build(few, BuildOptions(where=where, max_failures=settings.clips), progress)
    sources = ingest(few)
    with SkeletonStore(few.store) as store:
        whole, tasks = plan_tasks(plan, store, sources), plan_tasks(few, store, sources)
        files = match_files(plan.raw.videos, store, whole)
        num_frames = int(store.num_frames[[row for row, _ in clips_of(whole)]].sum())
        measured, _ = measure(few, store, tasks, settings.compared_clips)
        to_compare = _to_compare(plan, few, store, tasks, settings)
    compared = list(run(_compare, to_compare, where))
    findings = check(Path(few.out), CheckSettings(dataset=few.dataset), where).findings if report.num_samples else ()
    bytes_per_clip = report.num_bytes / max(report.num_samples, 1)
    return PilotReport(
        files=files,
        num_tried=sum(len(task.rows) for task in tasks),
        num_built=report.num_samples,
        skipped=_by_kind(report.problems, "skipped"),
        mended=_by_kind(report.problems, "mended"),
        findings=[f"{finding.key or finding.shard}: {finding.what}" for finding in findings],
        core_seconds=measured.seconds / measured.num_frames * num_frames if measured else 0.0,
        num_clips=files.num_clips,
        whole_bytes=_whole_bytes(compared, num_frames),
        bytes_per_clip=bytes_per_clip,
        samples_per_shard=advised_samples_per_shard(bytes_per_clip),
    )


def _plan_of_few(plan: BuildPlan, settings: PilotSettings, where: ExecutorSettings) -> BuildPlan:
    """The plan of the clips to try; refuses a setting that cannot be, before anything is built."""
    for size in settings.sizes_px:
        _of_size(plan.prepare, size)
    for quality in settings.jpeg_qualities:
        replace(plan.shard, jpeg_quality=quality)
    per_shard = max(settings.clips // (4 * max(where.workers, 1)), 1)  # small shards, so that every worker has some
    shard = replace(plan.shard, samples_per_shard=per_shard)
    return replace(plan, shard=shard, selection=replace(plan.selection, limit=settings.clips))


def match_files(videos: Path, store: SkeletonStore, tasks: list[ShardTask]) -> Files:
    """How the files below `videos` fit the clips of `tasks`."""
    sizes = {str(path.relative_to(videos)): path.stat().st_size for path in videos.rglob("[!.]*") if path.is_file()}
    of_clips = {video: int(store.num_frames[row]) for row, video in clips_of(tasks) if video is not None}
    finder = VideoFinder(videos)
    left_out = {finder.find(problem.name) for problem in store.problems}  # by the data set, or reported by the build
    rates = {video: sizes[video] / max(frames, 1) for video, frames in of_clips.items() if sizes.get(video)}
    median = float(np.median(list(rates.values()))) if rates else 0.0
    return Files(
        num_clips=sum(len(task.rows) for task in tasks),
        without_video=[store.names[row] for row, video in clips_of(tasks) if video is None],
        without_clip=sorted(sizes.keys() - of_clips.keys() - left_out),
        empty=sorted(video for video in of_clips if sizes.get(video) == 0),
        unusual=sorted(v for v, r in rates.items() if not median / _UNUSUAL_RATIO <= r <= median * _UNUSUAL_RATIO),
    )


def _by_kind(problems: Iterable[Problem], action: str) -> dict[str, int]:
    """How many problems of an action there are of each kind, most first."""
    return dict(Counter(problem.kind for problem in problems if problem.action == action).most_common())


def advised_samples_per_shard(bytes_per_clip: float) -> int:
    """The power of two that comes nearest to shards of 200 MB."""
    if not bytes_per_clip:
        return 256
    return int(2 ** max(round(np.log2(_SHARD_BYTES / bytes_per_clip)), 0))


@dataclass(frozen=True)
class _Compare:
    """One clip to build in every setting."""

    plan: BuildPlan
    store: Path
    row: int
    video: str
    settings: PilotSettings


def _to_compare(
    plan: BuildPlan, few: BuildPlan, store: SkeletonStore, tasks: list[ShardTask], settings: PilotSettings
) -> list[_Compare]:
    """Some of the clips that were built: their videos can harm no decoder."""
    built = {row.key for result in read_receipts(few.output).values() for row in result.summary.rows}
    clips = [
        _Compare(plan, few.store, row, video, settings)
        for row, video in clips_of(tasks)
        if video is not None and store.keys[row] in built
    ]
    return clips[: settings.compared_clips]


def _compare(task: _Compare) -> tuple[int, dict[str, int]]:
    """(frames, bytes by setting) of one clip."""
    plan = task.plan
    with SkeletonStore(task.store) as store:
        clip = store.clip(task.row, plan.raw.videos / task.video)
    num_bytes = {}
    for size in task.settings.sizes_px:
        sample, _ = prepare(clip, _of_size(plan.prepare, size), plan.layout, plan.taxonomy)
        for quality in task.settings.jpeg_qualities:
            members = encode(sample, replace(plan.shard, jpeg_quality=quality))
            num_bytes[f"{size} px, quality {quality}"] = sum(map(len, members.values()))
    return sample.info.num_frames, num_bytes


def _of_size(settings: PrepareSettings, size_px: int) -> PrepareSettings:
    return replace(settings, rgb_size_px=size_px, heatmap_size_px=size_px // 4)


def _whole_bytes(compared: list[tuple[int, dict[str, int]]], num_frames: int) -> dict[str, float]:
    measured = sum(frames for frames, _ in compared)
    totals: Counter[str] = Counter()
    for _, num_bytes in compared:
        totals.update(num_bytes)
    return {setting: total / measured * num_frames for setting, total in totals.items()}
