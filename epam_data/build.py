"""Build: plan tasks, build each shard, finalise.

`plan` is a pure function of the clips and the settings; `build_shard` is one of its task and the raw files. So the
shards do not depend on workers, on the order of completion, or on how often the build was stopped and resumed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from epam_data.executors import run_local
from epam_data.index import INDEX, MANIFEST, PROBLEMS, Manifest, ShardEntry, index_bytes
from epam_data.prepare import PrepareSettings, prepare
from epam_data.progress import OnProgress, silent
from epam_data.readers import READERS, RawSettings
from epam_data.readers.annotations import skeleton_files
from epam_data.schema import SCHEMA_VERSION, SPLITS, Problem
from epam_data.shard import ShardSettings, ShardSummary, ShardWriter, file_sha256, write_atomically
from epam_data.skeleton import LAYOUTS
from epam_data.store import SkeletonStore, stored_sources, write_store
from epam_data.taxonomy import TAXONOMIES
from epam_data.video import VideoFinder

WORK_FOLDER = ".build"  # inside the output: the skeleton store and the receipts of finished shards

_TOOLS = ("numpy", "av", "simplejpeg", "zstandard", "h5py")  # their versions may change the bytes of a shard


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What to build: everything that the bytes of the shards depend on, and where they go."""

    dataset: str
    raw: RawSettings
    prepare: PrepareSettings
    shard: ShardSettings
    out: Path

    def __post_init__(self) -> None:
        if self.dataset not in READERS:
            raise ValueError(f"dataset must be one of {', '.join(READERS)}, got {self.dataset!r}")

    @property
    def store(self) -> Path:
        """The skeleton store."""
        return self.out / WORK_FOLDER / "skeletons.h5"

    def receipt(self, shard_name: str) -> Path:
        """The receipt of one finished shard."""
        return self.out / WORK_FOLDER / "receipts" / f"{shard_name}.json"


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to build."""

    name: str
    split: str
    rows: tuple[int, ...]  # of the skeleton store
    videos: tuple[str | None, ...]  # below `raw.videos`, one per row; None: not found
    fingerprint: str  # hash of everything that the shard's bytes depend on


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """A built shard and the clips that it had to skip or mend."""

    summary: ShardSummary
    problems: tuple[Problem, ...]
    reused: bool = False


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did."""

    num_samples: int
    num_bytes: int
    num_shards: int
    num_reused: int
    problems: tuple[Problem, ...]

    @property
    def num_skipped(self) -> int:
        """Clips that should be in the shards and are not."""
        return sum(problem.action == "skipped" for problem in self.problems)


def build(plan: BuildPlan, num_workers: int, progress: OnProgress = silent) -> BuildReport:
    """Build all shards of a data set; call it again after an interruption to go on.

    Args:
        plan: what to build.
        num_workers: processes; 0 builds in this one.
        progress: is told of the clips whose shards are finished.

    Raises:
        ValueError: the raw data cannot be used at all. A single bad clip raises nothing: it is in the report.
    """
    plan.receipt("").parent.mkdir(parents=True, exist_ok=True)
    sources = ingest(plan)
    with SkeletonStore(plan.store) as store:
        tasks = plan_tasks(plan, store, sources)
        unread = store.problems
    results = {task.name: result for task in tasks if (result := _reusable(plan, task))}
    waiting = [task for task in tasks if task.name not in results]
    sizes = {task.name: len(task.rows) for task in tasks}
    for result in run_local(_Build(plan), waiting, num_workers):
        results[result.summary.name] = result
        num_skipped = sum(problem.action == "skipped" for done in results.values() for problem in done.problems)
        progress(sum(sizes[name] for name in results), sum(sizes.values()), f"{num_skipped} skipped")
    return finalise(plan, [results[task.name] for task in tasks], unread, sources)


def ingest(plan: BuildPlan) -> dict[str, str]:
    """Read the skeleton pickles into the store, unless it holds them already.

    Returns:
        The SHA-256 of each pickle, by file name.
    """
    sources = {path.name: _hash_source(path) for path in skeleton_files(plan.raw)}
    identity = {**sources, "dataset": plan.dataset, "protocol": str(plan.raw.protocol)}
    if stored_sources(plan.store) != identity:
        write_store(plan.store, READERS[plan.dataset].read(plan.raw), identity)
    return sources


def plan_tasks(plan: BuildPlan, store: SkeletonStore, sources: dict[str, str]) -> list[ShardTask]:
    """Shuffle the clips of each split by the seed and cut them into shards."""
    finder = VideoFinder(plan.raw.videos)
    common = {
        "schema": SCHEMA_VERSION,
        "dataset": plan.dataset,
        "prepare": asdict(plan.prepare),
        "shard": asdict(plan.shard),
        "sources": sources,
        "versions": tool_versions(),
    }
    tasks = []
    for number, split in enumerate(SPLITS):
        rows = np.array([row for row in range(len(store)) if store.split(row) == split], np.int64)
        np.random.default_rng((plan.shard.shuffle_seed, number)).shuffle(rows)
        for start in range(0, len(rows), plan.shard.samples_per_shard):
            chosen = tuple(rows[start : start + plan.shard.samples_per_shard].tolist())
            videos = tuple(finder.find(store.names[row]) for row in chosen)
            what = {**common, "keys": [store.keys[row] for row in chosen], "videos": videos}
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


def build_shard(plan: BuildPlan, task: ShardTask) -> ShardResult:
    """Build one shard and leave its receipt. A clip that fails is recorded; its place stays empty."""
    reader = READERS[plan.dataset]
    problems: list[Problem] = []
    with (
        SkeletonStore(plan.store) as store,
        ShardWriter(plan.out, task.name, task.split, plan.shard) as writer,
    ):
        for row, video in zip(task.rows, task.videos, strict=True):
            clip = store.clip(row, plan.raw.videos / video if video else None)
            try:
                sample, mended = prepare(clip, plan.prepare, reader.skeleton, reader.taxonomy)
            except Exception as error:  # the one boundary: a clip of many may fail, for whatever reason its files give
                reason = str(error) if isinstance(error, ValueError) else f"{clip.name}: {error!r}"
                problems.append(Problem(name=clip.name, split=clip.split, action="skipped", reason=reason))
                continue
            if mended:
                problems.append(Problem(name=clip.name, split=clip.split, action="mended", reason=mended))
            writer.write(sample)
        result = ShardResult(summary=writer.finish(), problems=tuple(problems))
    receipt = {
        "fingerprint": task.fingerprint,
        "summary": result.summary.to_dict(),
        "problems": [asdict(problem) for problem in problems],
    }
    write_atomically(plan.receipt(task.name), json.dumps(receipt).encode())
    return result


def finalise(
    plan: BuildPlan, results: list[ShardResult], unread: list[Problem], sources: dict[str, str]
) -> BuildReport:
    """Write the index, the problems and, last, the manifest; remove shards of an earlier plan."""
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
        shards=tuple(
            ShardEntry(
                name=shard.name,
                split=shard.split,
                num_samples=len(shard.rows),
                num_bytes=shard.num_bytes,
                sha256=shard.sha256,
            )
            for shard in shards
        ),
    )
    wanted = {shard.name for shard in shards}
    for path in plan.out.glob("*.tar"):
        if path.stem not in wanted:
            path.unlink()
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


def tool_versions() -> dict[str, str]:
    """Versions of the libraries that the bytes of a shard depend on, and of this package."""
    return {name: version(name) for name in ("epam", *_TOOLS)}


@dataclass(frozen=True)
class _Build:
    """`build_shard` with its plan: one picklable function of the task for every executor."""

    plan: BuildPlan

    def __call__(self, task: ShardTask) -> ShardResult:
        return build_shard(self.plan, task)


def _reusable(plan: BuildPlan, task: ShardTask) -> ShardResult | None:
    """The result of an earlier run, if its receipt fits the task and the shard is still there, whole."""
    try:
        receipt = json.loads(plan.receipt(task.name).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    path = plan.out / f"{task.name}.tar"
    if receipt["fingerprint"] != task.fingerprint or not path.is_file():
        return None
    summary = ShardSummary.from_dict(receipt["summary"])
    if path.stat().st_size != summary.num_bytes or file_sha256(path) != summary.sha256:
        return None
    problems = tuple(Problem(**values) for values in receipt["problems"])
    return ShardResult(summary=summary, problems=problems, reused=True)


def _hash_source(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path}: no such file, expected a skeleton pickle")
    return file_sha256(path)
