"""Build: ingest the skeletons, build each shard, finalise.

A shard depends on its task and the raw files alone, so the bytes do not depend on workers, on the order of completion,
or on how often the build was stopped and resumed. (The limits of a clip's time and memory are the exception: a clip
that meets one is skipped and reported.)
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from epam_data.build.build_shard import FIRST_CLIPS, _BuildShard, check_first_clips
from epam_data.build.ingest import ingest, record_inputs
from epam_data.build.manifest import make_manifest
from epam_data.build.plan import BuildPlan, ShardTask, plan_tasks, select
from epam_data.build.receipts import ShardResult, is_intact, read_receipts, remove_others
from epam_data.build.skeleton_store import SkeletonStore
from epam_data.build.watch import BuildWatch, ShardNotes, write_tasks
from epam_data.samples.colours import check_colours
from epam_data.schema import Problem
from epam_data.shards.index import index_bytes
from epam_data.shards.layout import INDEX, MANIFEST, PROBLEMS
from epam_data.system.executors import ExecutorSettings, available_cores, run
from epam_data.system.files import PARTIAL
from epam_data.system.folder_lock import FolderLock
from epam_data.system.progress import OnProgress, silent

_log = logging.getLogger(__name__)


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
    max_failures: int = 0
    """Clips that may fail. With fewer than `FIRST_CLIPS`, a build whose first clips all fail for one reason stops."""


@dataclass(frozen=True, kw_only=True)
class _Inputs:
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

    Returns:
        What was built. If that is no clip at all, the output has problems.jsonl, but no manifest.

    Raises:
        ValueError: the raw data cannot be used at all, the first clips all fail for one reason, the inputs differ from
            those of the build that the output holds, or another build is at work there. A single bad clip raises
            nothing: it is in the report.
        BugError: a clip met a bug of this package.
        OSError: the output cannot be written to, or is full. What is finished stays.
    """
    options = options or BuildOptions()
    plan.work_folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(plan.work_folder, against="lock*"):
        _remove_leftovers(plan)
        inputs = _load_inputs(plan, options)
        results, num_reused = _build_tasks(plan, inputs.tasks, options, progress)
        return _finalise(plan, inputs, results, num_reused)


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
        mine = _load_inputs(plan, options).tasks[part::num_parts]
        return _report(*_build_tasks(plan, mine, options, progress))


def finalise(plan: BuildPlan) -> BuildReport:
    """Merge the receipts of the parts: write index, problems and manifest.

    Raises:
        ValueError: a shard is not built yet, or is not what its receipt says; all such shards are named.
    """
    plan.work_folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(plan.work_folder, against="lock*"):
        _remove_leftovers(plan)
        inputs = _load_inputs(plan, BuildOptions(max_failures=FIRST_CLIPS))  # no clip is built here
        results = {result.summary.name: result for result in _finished(plan, inputs.tasks)}
        absent = [task.name for task in inputs.tasks if task.name not in results]
        if absent:
            raise ValueError(
                f"{plan.out}: {len(absent)} of {len(inputs.tasks)} shards are not built, or damaged: "
                f"{', '.join(absent[:10])}{' ...' if len(absent) > 10 else ''}; "
                "run their parts again, or a plain build"
            )
        return _finalise(plan, inputs, [results[task.name] for task in inputs.tasks], len(results))


def _remove_leftovers(plan: BuildPlan) -> None:
    """What killed processes have left half-written; nobody else is at work here."""
    for leftover in plan.work_folder.glob(f".*{PARTIAL}"):
        leftover.unlink()
    plan.output.remove_leftovers()
    ShardNotes(plan.work_folder).remove_all()


def _load_inputs(plan: BuildPlan, options: BuildOptions) -> _Inputs:
    check_colours()
    sources = ingest(plan, restart=options.restart)
    with SkeletonStore(plan.store) as store:
        if not select(plan, store).any():  # then the plan fails, and this is what is left of the build
            plan.output.write(PROBLEMS, _lines(store.problems))
        tasks = plan_tasks(plan, store, sources)
        if options.max_failures < FIRST_CLIPS:
            check_first_clips(plan, store, tasks)
        unread = [problem for problem in store.problems if plan.selection.is_whole(problem.split)]
    record_inputs(plan, sources, restart=options.restart)
    write_tasks(plan.work_folder, tasks)
    return _Inputs(tasks=tasks, unread=unread, sources=sources)


def _finished(plan: BuildPlan, tasks: list[ShardTask]) -> list[ShardResult]:
    """The results of the shards that are there already, whole."""
    receipts = read_receipts(plan.output)
    fitting = [receipts[t.name] for t in tasks if t.name in receipts and receipts[t.name].fingerprint == t.fingerprint]
    if fitting:
        _log.info("verifying %d finished shards", len(fitting))
    with ThreadPoolExecutor(available_cores()) as threads:  # to hash gigabytes, or to ask a store about each
        try:
            intact = list(threads.map(lambda receipt: is_intact(plan.output, receipt), fitting))
        except BaseException:
            threads.shutdown(cancel_futures=True)  # Ctrl-C does not wait for all of them
            raise
    for receipt, is_whole in zip(fitting, intact, strict=True):
        if not is_whole:
            _log.warning("%s.tar is damaged or missing", receipt.summary.name)
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


def _finalise(plan: BuildPlan, inputs: _Inputs, results: list[ShardResult], num_reused: int) -> BuildReport:
    """Write the index, the problems and, last, the manifest; remove what dead workers and an earlier plan have left.

    Without a single clip there is no data set, so neither index nor manifest.
    """
    output = plan.output
    shards = [result.summary for result in results]
    report = _report(results, num_reused, inputs.unread)
    if not report.num_samples:
        output.remove(MANIFEST)
        output.write(PROBLEMS, _lines(report.problems))
        return report
    index = index_bytes(shards)
    problems = dict(sorted(Counter(problem.action for problem in report.problems).items()))
    manifest = make_manifest(plan, inputs.sources, shards, index, problems)
    _remove_leftovers(plan)
    remove_others(output, [shard.name for shard in shards])
    output.write(INDEX, index)
    output.write(PROBLEMS, _lines(report.problems))
    output.write(MANIFEST, manifest.to_json())
    return report


def _lines(problems: Iterable[Problem]) -> bytes:
    return "".join(json.dumps(asdict(problem)) + "\n" for problem in problems).encode()


def _report(results: list[ShardResult], num_reused: int, unread: Sequence[Problem] = ()) -> BuildReport:
    problems = (*unread, *(problem for result in results for problem in result.problems))
    left_out = {problem.name for problem in problems if problem.action != "mended"}
    return BuildReport(
        num_samples=sum(len(result.summary.rows) for result in results),
        num_bytes=sum(result.summary.num_bytes for result in results),
        num_shards=len(results),
        num_reused=num_reused,
        problems=tuple(each for each in problems if each.action != "mended" or each.name not in left_out),
    )
