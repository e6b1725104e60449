"""Build: ingest the skeletons, build each shard, finalise.

A shard depends on its task and the raw files alone, so the bytes do not depend on workers, on the order of completion,
or on how often the build was stopped and resumed. (The limits of a clip's time and memory are the exception: a clip
that meets one is skipped and reported.)
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache

from epam_data.codec import encode
from epam_data.executors import ExecutorSettings, available_cores, run
from epam_data.files import PARTIAL
from epam_data.index import INDEX, MANIFEST, PROBLEMS, index_bytes
from epam_data.ingest import claim, ingest
from epam_data.isolated import CallFailedError, IsolatedProcess, ProcessStartError
from epam_data.lock import FolderLock
from epam_data.manifest import make_manifest
from epam_data.plan import BuildPlan, ClipLimits, ShardTask, plan_tasks
from epam_data.prepare import prepare
from epam_data.progress import OnProgress, silent
from epam_data.receipts import ShardResult, is_intact, read_receipts, remove_others, write_receipt
from epam_data.schema import Clip, Problem, SampleInfo
from epam_data.shard import ShardWriter
from epam_data.store import SkeletonStore
from epam_data.tally import BuildWatch, Count, ShardNotes, write_tasks


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build, or a part of one, did."""

    num_samples: int
    num_bytes: int
    num_shards: int
    num_reused: int  # of the shards: finished before
    problems: tuple[Problem, ...]

    @property
    def num_skipped(self) -> int:
        """Clips that should be in the shards and are not."""
        return sum(problem.action == "skipped" for problem in self.problems)


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to go about a build; nothing of it changes a byte of the shards."""

    where: ExecutorSettings = field(default_factory=ExecutorSettings)
    """Where shards are built (decoding always has a process of its own)."""
    restart: bool = False
    """Forget a build of other inputs in the same output; False refuses to go on with it."""
    retry_skipped: bool = False
    """Build finished shards anew that lack clips."""


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A plan with its skeletons at hand."""

    tasks: list[ShardTask]
    unread: list[Problem]  # what the reader could not make a clip of
    sources: dict[str, str]  # the skeleton files and their hashes


def build(plan: BuildPlan, options: BuildOptions | None = None, progress: OnProgress = silent) -> BuildReport:
    """Build all shards of a data set; call it again after an interruption to go on.

    Args:
        plan: what to build.
        options: how; None: in this process.
        progress: is told of the clips that are done.

    Raises:
        ValueError: the raw data cannot be used at all, the inputs differ from those of the build that the output holds,
            or another build is at work there. A single bad clip raises nothing: it is in the report.
        OSError: the output cannot be written to, or is full. What is finished stays.
    """
    options = options or BuildOptions()
    plan.work_folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(plan.work_folder, against="lock*"):
        _remove_leftovers(plan)
        opened = _open(plan, options)
        results, num_reused = _build_tasks(plan, opened.tasks, options, progress)
        return _finalise(plan, opened, results, num_reused)


def build_part(
    plan: BuildPlan, options: BuildOptions, part: int, num_parts: int, progress: OnProgress = silent
) -> BuildReport:
    """Build every `num_parts`-th shard from number `part` (0-based), as one task of an array job; then `finalise`.

    Raises:
        ValueError: as `build`; or `part` is not one of `num_parts`.
    """
    if not 0 <= part < num_parts:
        raise ValueError(f"part must be i/n with 0 <= i < n, got {part}/{num_parts}")
    plan.work_folder.mkdir(parents=True, exist_ok=True)
    lock = f"lock-{part}-of-{num_parts}"
    # Other parts of the same job may run; a whole build, or parts of another job, would build the same shards.
    with FolderLock(plan.work_folder, lock, against="lock*", beside=f"lock-*-of-{num_parts}", wait=True):
        mine = _open(plan, options).tasks[part::num_parts]
        return _report(*_build_tasks(plan, mine, options, progress))


def finalise(plan: BuildPlan) -> BuildReport:
    """Merge the receipts of the parts: write index, problems and manifest.

    Raises:
        ValueError: a shard is not built yet, or is not what its receipt says; all such shards are named.
    """
    plan.work_folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(plan.work_folder, against="lock*"):
        _remove_leftovers(plan)
        opened = _open(plan, BuildOptions())
        results = {result.summary.name: result for result in _finished(plan, opened.tasks)}
        absent = [task.name for task in opened.tasks if task.name not in results]
        if absent:
            raise ValueError(
                f"{plan.out}: {len(absent)} of {len(opened.tasks)} shards are not built, or damaged: "
                f"{', '.join(absent[:10])}{' ...' if len(absent) > 10 else ''}; "
                "run their parts again, or a plain build"
            )
        return _finalise(plan, opened, [results[task.name] for task in opened.tasks], len(results))


def build_shard(plan: BuildPlan, task: ShardTask) -> ShardResult:
    """Build one shard and leave its receipt. A clip that fails is recorded; its place stays empty."""
    problems: list[Problem] = []
    begun, notes, count = time.monotonic(), ShardNotes(plan.work_folder), Count()
    output = plan.output
    output.staging.mkdir(parents=True, exist_ok=True)
    with (
        SkeletonStore(plan.store) as store,
        ShardWriter(output.staging, task.name, task.split, plan.shard) as writer,
    ):
        for row, video in zip(task.rows, task.videos, strict=True):
            notes.write(task.name, count)
            clip = store.clip(row, plan.raw.videos / video if video else None)
            try:
                info, members, mended = _clip_process(plan.limits).call(make_members, plan, clip)
            except ProcessStartError:  # the machine is to blame, not the clip
                raise
            except Exception as error:  # the one boundary: a clip of many may fail, for whatever reason its files give
                reason = str(error) if isinstance(error, ValueError) else f"{clip.name}: {_describe(error)}"
                problems.append(Problem(name=clip.name, split=clip.split, action="skipped", reason=reason))
                count += Count(clips=1, skipped=1)
                continue
            assert info.key == clip.key, f"asked for {clip.key}, got {info.key}"
            if mended:
                problems.append(Problem(name=clip.name, split=clip.split, action="mended", reason=mended))
            writer.write_members(info, members)
            count += Count(clips=1, frames=info.num_frames)
        summary = writer.finish()
    result = ShardResult(
        summary=summary,
        problems=tuple(problems),
        fingerprint=task.fingerprint,
        stamp=output.publish(f"{task.name}.tar"),
        seconds=time.monotonic() - begun,
    )
    write_receipt(output, result)
    notes.remove([task.name])
    return result


def make_members(plan: BuildPlan, clip: Clip) -> tuple[SampleInfo, dict[str, bytes], str | None]:
    """Decode, prepare and encode one clip: all that needs its video, and all that its video can break."""
    sample, mended = prepare(clip, plan.prepare, plan.skeleton, plan.taxonomy)
    members = encode(sample, jpeg_quality=plan.shard.jpeg_quality, zstd_level=plan.shard.zstd_level)
    return sample.info, members, mended


@dataclass(frozen=True)
class _BuildShard:
    """`build_shard` with its plan: one picklable function of the task for every executor."""

    plan: BuildPlan

    def __call__(self, task: ShardTask) -> ShardResult:
        return build_shard(self.plan, task)


@cache
def _clip_process(limits: ClipLimits) -> IsolatedProcess:
    """The decoding process of this process; it lives from shard to shard."""
    return IsolatedProcess(timeout_seconds=limits.clip_seconds, memory_bytes=limits.process_mb * 1_000_000)


def _remove_leftovers(plan: BuildPlan) -> None:
    """What killed processes have left half-written; nobody else is at work here."""
    for leftover in plan.work_folder.glob(f".*{PARTIAL}"):
        leftover.unlink()
    plan.output.remove_leftovers()
    ShardNotes(plan.work_folder).remove_all()


def _open(plan: BuildPlan, options: BuildOptions) -> _Opened:
    sources = ingest(plan, restart=options.restart)
    with SkeletonStore(plan.store) as store:
        tasks = plan_tasks(plan, store, sources)
        unread = [problem for problem in store.problems if plan.selection.is_whole(problem.split)]
    claim(plan, sources, restart=options.restart)
    write_tasks(plan.work_folder, tasks)
    return _Opened(tasks=tasks, unread=unread, sources=sources)


def _finished(plan: BuildPlan, tasks: list[ShardTask]) -> list[ShardResult]:
    """The results of the shards that are there already, whole."""
    receipts = read_receipts(plan.output)
    fitting = [receipts[t.name] for t in tasks if t.name in receipts and receipts[t.name].fingerprint == t.fingerprint]
    if fitting:
        print(f"verifying {len(fitting)} finished shards", file=sys.stderr)
    with ThreadPoolExecutor(available_cores()) as threads:  # to hash gigabytes, or to ask a store about each
        try:
            intact = list(threads.map(lambda receipt: is_intact(plan.output, receipt), fitting))
        except BaseException:
            threads.shutdown(cancel_futures=True)  # Ctrl-C does not wait for all of them
            raise
    for receipt, is_whole in zip(fitting, intact, strict=True):
        if not is_whole:
            print(f"{receipt.summary.name}.tar is damaged or missing", file=sys.stderr)
    return [receipt for receipt, is_whole in zip(fitting, intact, strict=True) if is_whole]


def _build_tasks(
    plan: BuildPlan, tasks: list[ShardTask], options: BuildOptions, progress: OnProgress
) -> tuple[list[ShardResult], int]:
    """Build what is not finished: the results in the order of the tasks, and how many were finished before."""
    reused = _finished(plan, tasks)
    if options.retry_skipped:
        reused = [result for result in reused if not result.num_skipped]
    results = {result.summary.name: result for result in reused}
    waiting = [task for task in tasks if task.name not in results]
    if waiting:  # until the last is built, the output is no finished set of shards
        plan.output.remove(MANIFEST)
    notes = ShardNotes(plan.work_folder)
    notes.remove(task.name for task in waiting)
    with BuildWatch(notes, tasks, reused, progress) as watch:
        for result in run(_BuildShard(plan), waiting, options.where):
            results[result.summary.name] = result
            watch.finished(result)
    return [results[task.name] for task in tasks], len(reused)


def _finalise(plan: BuildPlan, opened: _Opened, results: list[ShardResult], num_reused: int) -> BuildReport:
    """Write the index, the problems and, last, the manifest; remove what dead workers and an earlier plan have left."""
    output = plan.output
    shards = [result.summary for result in results]
    report = _report(results, num_reused, opened.unread)
    index = index_bytes(shards)
    problems = dict(sorted(Counter(problem.action for problem in report.problems).items()))
    manifest = make_manifest(plan, opened.sources, shards, index, problems)
    _remove_leftovers(plan)
    remove_others(output, [shard.name for shard in shards])
    output.write(INDEX, index)
    output.write(PROBLEMS, "".join(json.dumps(asdict(problem)) + "\n" for problem in report.problems).encode())
    output.write(MANIFEST, manifest.to_json())
    return report


def _report(results: list[ShardResult], num_reused: int, unread: Sequence[Problem] = ()) -> BuildReport:
    return BuildReport(
        num_samples=sum(len(result.summary.rows) for result in results),
        num_bytes=sum(result.summary.num_bytes for result in results),
        num_shards=len(results),
        num_reused=num_reused,
        problems=(*unread, *(problem for result in results for problem in result.problems)),
    )


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, CallFailedError) else repr(error)
