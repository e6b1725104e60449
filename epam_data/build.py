"""Build: ingest the skeletons, build each shard, finalise.

A shard depends on its task and the raw files alone, so the bytes do not depend on workers, on the order of completion,
or on how often the build was stopped and resumed. (The limits of a clip's time and memory are the exception: a clip
that meets one is skipped and reported.)
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from epam_data.codec import encode
from epam_data.executors import run_dask, run_local
from epam_data.index import INDEX, MANIFEST, PROBLEMS, Manifest, ShardEntry, index_bytes
from epam_data.isolated import CallFailedError, IsolatedProcess
from epam_data.lock import FolderLock
from epam_data.plan import BuildPlan, ClipLimits, ShardTask, differences, plan_tasks, tool_versions
from epam_data.prepare import prepare
from epam_data.progress import OnProgress, silent
from epam_data.readers import READERS
from epam_data.readers.annotations import skeleton_files
from epam_data.schema import Clip, Problem, SampleInfo
from epam_data.shard import PARTIAL, ShardSummary, ShardWriter, file_sha256, write_atomically
from epam_data.skeleton import LAYOUTS
from epam_data.store import SkeletonStore, stored_sources, write_store
from epam_data.taxonomy import TAXONOMIES


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """A built shard and the clips that it had to skip or mend."""

    summary: ShardSummary
    problems: tuple[Problem, ...]
    reused: bool = False

    @property
    def num_skipped(self) -> int:
        """Clips that should be in the shard and are not."""
        return sum(problem.action == "skipped" for problem in self.problems)


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build, or a part of one, did."""

    num_samples: int
    num_bytes: int
    num_shards: int
    num_reused: int
    problems: tuple[Problem, ...]

    @property
    def num_skipped(self) -> int:
        """Clips that should be in the shards and are not."""
        return sum(problem.action == "skipped" for problem in self.problems)


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to go about a build; nothing of it changes a byte of the shards."""

    workers: int = 0
    """Processes of this machine; 0 builds in this one (decoding always has a process of its own)."""
    dask_address: str | None = None
    """Build on the Dask cluster with this scheduler instead."""
    restart: bool = False
    """Forget a build of other inputs in the same folder; False refuses to go on with it."""
    retry_skipped: bool = False
    """Build finished shards anew that lack clips."""


def build(plan: BuildPlan, options: BuildOptions | None = None, progress: OnProgress = silent) -> BuildReport:
    """Build all shards of a data set; call it again after an interruption to go on.

    Args:
        plan: what to build.
        options: how; None: in this process.
        progress: is told of the clips whose shards are finished.

    Raises:
        ValueError: the raw data cannot be used at all, the inputs differ from those of the build that the folder holds,
            or another build is at work there. A single bad clip raises nothing: it is in the report.
    """
    options = options or BuildOptions()
    _make_folders(plan)
    with FolderLock(plan.work_folder, against="lock*"):
        tasks, unread, sources = _open(plan, options)
        results = _in_order(_reuse_or_build(plan, tasks, options), tasks, progress)
        return _finalise(plan, results, unread, sources)


def build_part(plan: BuildPlan, options: BuildOptions, part: int, num_parts: int, progress: OnProgress = silent) -> int:
    """Build every `num_parts`-th shard from number `part` (0-based), as one task of an array job; then `finalise`.

    Returns:
        How many clips were skipped.

    Raises:
        ValueError: as `build`; or `part` is not in 0 ... num_parts - 1.
    """
    if not 0 <= part < num_parts:
        raise ValueError(f"part must be in 0..{num_parts - 1}, got {part}")
    _make_folders(plan)
    with FolderLock(plan.work_folder, f"lock-{part}-of-{num_parts}", against="lock", wait=True):
        tasks, _, _ = _open(plan, options)
        mine = tasks[part::num_parts]
        return sum(result.num_skipped for result in _in_order(_reuse_or_build(plan, mine, options), mine, progress))


def finalise(plan: BuildPlan) -> BuildReport:
    """Merge the receipts of the parts: write index, problems and manifest.

    Raises:
        ValueError: a shard is not built yet, or is not what its receipt says; all such shards are named.
    """
    _make_folders(plan)
    with FolderLock(plan.work_folder, against="lock*"):
        tasks, unread, sources = _open(plan, BuildOptions())
        results = [_reusable(plan, task) for task in tasks]
        absent = [task.name for task, result in zip(tasks, results, strict=True) if result is None]
        if absent:
            raise ValueError(
                f"{plan.out}: {len(absent)} of {len(tasks)} shards are not built, or damaged: {', '.join(absent[:10])}"
                f"{' ...' if len(absent) > 10 else ''}; run their parts again, or a plain build"
            )
        return _finalise(plan, [result for result in results if result], unread, sources)


def ingest(plan: BuildPlan, *, restart: bool = False) -> dict[str, str]:
    """Read the skeleton pickles into the store, unless it holds them already.

    Returns:
        The SHA-256 of each pickle, by file name.

    Raises:
        ValueError: a pickle cannot be used, or the inputs differ from those of the build that the folder holds.
    """
    sources = {path.name: _hash_source(path) for path in skeleton_files(plan.raw)}
    inputs, record = plan.inputs(sources), plan.work_folder / "inputs.json"
    # Parts of an array job start together: the first one reads, the others wait for it.
    with FolderLock(plan.work_folder, "ingest", wait=True):
        if record.is_file() and not restart:
            changes = differences(json.loads(record.read_text()), inputs)
            if changes:
                raise ValueError(
                    f"{plan.out} holds a build of other inputs ({'; '.join(changes)}); "
                    "give another folder, or --restart to replace it"
                )
        write_atomically(record, json.dumps(inputs, indent=1).encode())
        identity = {**sources, "dataset": plan.dataset, "protocol": str(plan.raw.protocol), **tool_versions()}
        if stored_sources(plan.store) != identity:
            write_store(plan.store, READERS[plan.dataset].read(plan.raw), identity)
    return sources


def build_shard(plan: BuildPlan, task: ShardTask) -> ShardResult:
    """Build one shard and leave its receipt. A clip that fails is recorded; its place stays empty."""
    problems: list[Problem] = []
    with (
        SkeletonStore(plan.store) as store,
        ShardWriter(plan.out, task.name, task.split, plan.shard) as writer,
    ):
        for row, video in zip(task.rows, task.videos, strict=True):
            clip = store.clip(row, plan.raw.videos / video if video else None)
            try:
                info, members, mended = _clip_process(plan.limits).call(make_members, plan, clip)
            except Exception as error:  # the one boundary: a clip of many may fail, for whatever reason its files give
                reason = str(error) if isinstance(error, ValueError) else f"{clip.name}: {_describe(error)}"
                problems.append(Problem(name=clip.name, split=clip.split, action="skipped", reason=reason))
                continue
            assert info.key == clip.key, f"asked for {clip.key}, got {info.key}"
            if mended:
                problems.append(Problem(name=clip.name, split=clip.split, action="mended", reason=mended))
            writer.write_members(info, members)
        result = ShardResult(summary=writer.finish(), problems=tuple(problems))
    receipt = {
        "fingerprint": task.fingerprint,
        "summary": result.summary.to_dict(),
        "problems": [asdict(problem) for problem in problems],
    }
    write_atomically(plan.receipt(task.name), json.dumps(receipt).encode())
    return result


def make_members(plan: BuildPlan, clip: Clip) -> tuple[SampleInfo, dict[str, bytes], str | None]:
    """Decode, prepare and encode one clip: all that needs its video, and all that its video can break."""
    reader = READERS[plan.dataset]
    sample, mended = prepare(clip, plan.prepare, reader.skeleton, reader.taxonomy)
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


def _make_folders(plan: BuildPlan) -> None:
    plan.receipt("").parent.mkdir(parents=True, exist_ok=True)


def _remove_leftovers(plan: BuildPlan) -> None:
    """Half-written files of a build that was killed; nobody else is at work here."""
    for folder in (plan.out, plan.work_folder, plan.receipt("").parent):
        for leftover in folder.glob(f".*{PARTIAL}"):
            leftover.unlink()


def _open(plan: BuildPlan, options: BuildOptions) -> tuple[list[ShardTask], list[Problem], dict[str, str]]:
    """The tasks of the build, what the reader could not read, and the hashes of the skeleton files."""
    sources = ingest(plan, restart=options.restart)
    with SkeletonStore(plan.store) as store:
        return plan_tasks(plan, store, sources), store.problems, sources


def _reuse_or_build(plan: BuildPlan, tasks: list[ShardTask], options: BuildOptions) -> Iterator[ShardResult]:
    waiting = []
    for task in tasks:
        result = _reusable(plan, task)
        if result and not (options.retry_skipped and result.num_skipped):
            yield result
        else:
            waiting.append(task)
    if waiting:  # until the last is built, the folder is no finished set of shards
        (plan.out / MANIFEST).unlink(missing_ok=True)
    if options.dask_address:
        yield from run_dask(_BuildShard(plan), waiting, options.dask_address)
    else:
        yield from run_local(_BuildShard(plan), waiting, options.workers)


def _reusable(plan: BuildPlan, task: ShardTask) -> ShardResult | None:
    """The result of an earlier run, if its receipt fits the task and the shard is still there, whole."""
    try:
        receipt = json.loads(plan.receipt(task.name).read_bytes())
        if receipt["fingerprint"] != task.fingerprint:
            return None
        summary = ShardSummary.from_dict(receipt["summary"])
        problems = tuple(Problem(**values) for values in receipt["problems"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or damaged: it counts for nothing
        return None
    path = plan.out / f"{task.name}.tar"
    if not path.is_file() or path.stat().st_size != summary.num_bytes or file_sha256(path) != summary.sha256:
        return None
    return ShardResult(summary=summary, problems=problems, reused=True)


def _in_order(results: Iterable[ShardResult], tasks: list[ShardTask], progress: OnProgress) -> list[ShardResult]:
    """The results in the order of their tasks, whatever the order of completion."""
    sizes = {task.name: len(task.rows) for task in tasks}
    by_name: dict[str, ShardResult] = {}
    for result in results:
        by_name[result.summary.name] = result
        num_skipped = sum(result.num_skipped for result in by_name.values())
        progress(sum(sizes[name] for name in by_name), sum(sizes.values()), f"{num_skipped} skipped")
    return [by_name[task.name] for task in tasks]


def _finalise(
    plan: BuildPlan, results: list[ShardResult], unread: list[Problem], sources: dict[str, str]
) -> BuildReport:
    """Write the index, the problems and, last, the manifest; remove what killed workers and an earlier plan left."""
    _remove_leftovers(plan)
    shards = [result.summary for result in results]
    problems = (*unread, *(problem for result in results for problem in result.problems))
    reader = READERS[plan.dataset]
    taxonomy = TAXONOMIES[reader.taxonomy]
    index = index_bytes(shards)
    manifest = Manifest(
        dataset=plan.dataset,
        protocol=plan.raw.protocol,
        skeleton=reader.skeleton,
        joints=LAYOUTS[reader.skeleton].joints,
        taxonomy=taxonomy.name,
        classes=taxonomy.classes,
        groups=taxonomy.groups,
        coarse_of=taxonomy.coarse_of,
        prepare=asdict(plan.prepare),
        shard=asdict(plan.shard),
        sources=sources,
        versions=tool_versions(),
        problems=dict(sorted(Counter(problem.action for problem in problems).items())),
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(map(ShardEntry.of, shards)),
    )
    wanted = {shard.name for shard in shards}
    for receipt in plan.receipt("").parent.glob("*.json"):
        if receipt.stem not in wanted:  # only what has a receipt is ours to remove
            (plan.out / f"{receipt.stem}.tar").unlink(missing_ok=True)
            receipt.unlink()
    write_atomically(plan.out / INDEX, index)
    lines = "".join(json.dumps(asdict(problem)) + "\n" for problem in problems)
    write_atomically(plan.out / PROBLEMS, lines.encode())
    write_atomically(plan.out / MANIFEST, manifest.to_json())
    return BuildReport(
        num_samples=sum(len(shard.rows) for shard in shards),
        num_bytes=sum(shard.num_bytes for shard in shards),
        num_shards=len(shards),
        num_reused=sum(result.reused for result in results),
        problems=problems,
    )


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, CallFailedError) else repr(error)


def _hash_source(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path}: no such file, expected a skeleton pickle")
    return file_sha256(path)
