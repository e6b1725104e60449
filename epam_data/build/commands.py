"""`epam-data pilot | build | status | finalise`: the commands around a build."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from epam_data.build.build import BuildOptions, BuildReport, build, build_part, finalise
from epam_data.build.estimate import estimate
from epam_data.build.pilot import PilotSettings, pilot
from epam_data.build.plan import BuildPlan, ClipLimits, Selection
from epam_data.build.status import build_status
from epam_data.readers import RawSettings
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.manifest import PROBLEMS
from epam_data.shards.settings import ShardSettings
from epam_data.system.executors import ExecutorSettings, available_cores
from epam_data.system.progress import Progress, duration, volume

_MAX_PROBLEMS = 20  # lines on the terminal; the file has all


@dataclass(frozen=True, kw_only=True)
class BuildCommand:
    """Build shards from raw recordings. Give the same command again after an interruption: it goes on."""

    dataset: str
    """Data set: `ntu60`, `ma52`, `synthetic`, or `module:NAME` of a reader of your own."""
    raw: RawSettings
    out: str
    """Folder of the shards, or an fsspec URL as s3://bucket/ntu60."""
    work: Path | None = None
    """Where `out` is a URL: a folder that all workers see, for the skeleton store, the lock and shards in work."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    shard: ShardSettings = field(default_factory=ShardSettings)
    limits: ClipLimits = field(default_factory=ClipLimits)
    workers: int = available_cores()
    """Processes of this machine; 0 works in this one. The shards do not depend on it."""
    executor: str = "local"
    """Where shards are built: `local` processes, or `dask`."""
    dask_address: str | None = None
    """Scheduler of the Dask cluster, as tcp://host:8786; null: a cluster of `workers` processes on this machine."""
    part: str | None = None
    """`i/n`: build every n-th shard from number i (0-based) only, as task i of an array job; then run `finalise`."""
    split: str | None = None
    """One split only: `train`, `val` or `test`."""
    only: tuple[str, ...] = ()
    """These clips only: --only KEY KEY ..."""
    limit: int | None = None
    """So many random clips at most, for a quick look."""
    dry_run: bool = False
    """Build nothing: count, measure a few clips, and say what the build would make and take."""
    restart: bool = False
    """Replace a build of other inputs in the same place."""
    retry_skipped: bool = False
    """Build finished shards anew that lack clips, after their videos were mended."""
    max_failures: int = 0
    """Clips that may be skipped before the exit code is 1. Under 20: a build whose first 20 all fail alike stops."""

    def __post_init__(self) -> None:
        _ = self.where, self.plan  # each refuses what cannot be used
        if self.out.startswith("memory://") and (self.workers or self.executor != "local"):
            raise ValueError("memory:// is seen by one process only: it goes with --workers 0")
        if self.part is not None and not re.fullmatch(r"\d+/\d+", self.part):
            raise ValueError(f"part must be i/n, as 3/20, got {self.part!r}")

    @property
    def where(self) -> ExecutorSettings:
        """Where shards are built."""
        return ExecutorSettings(executor=self.executor, workers=self.workers, dask_address=self.dask_address)

    @property
    def plan(self) -> BuildPlan:
        """What to build."""
        return BuildPlan(
            dataset=self.dataset,
            raw=self.raw,
            prepare=self.prepare,
            shard=self.shard,
            out=self.out,
            work=self.work,
            limits=self.limits,
            selection=Selection(split=self.split, only=self.only, limit=self.limit),
        )


class FinaliseCommand(BuildCommand):
    """End a build whose parts are all done: write index, problems and manifest. Takes the keys of its `build`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dry_run", "part", "restart", "retry_skipped"):
            if getattr(self, name):
                raise ValueError(f"{name} belongs to build, finalise builds nothing")


@dataclass(frozen=True, kw_only=True)
class PilotCommand:
    """Build some random clips of the real data and say what the whole would be: files, failures, hours, gigabytes."""

    dataset: str
    """Data set: `ntu60`, `ma52`, `synthetic`, or `module:NAME` of a reader of your own."""
    raw: RawSettings
    out: Path | None = None
    """Folder to keep the clips in; null: they are thrown away."""
    pilot: PilotSettings = field(default_factory=PilotSettings)
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    shard: ShardSettings = field(default_factory=ShardSettings)
    limits: ClipLimits = field(default_factory=ClipLimits)
    workers: int = available_cores()
    """Processes of this machine; 0 works in this one."""
    json: bool = False
    """Print the result as JSON."""

    def __post_init__(self) -> None:
        _ = ExecutorSettings(workers=self.workers)


@dataclass(frozen=True, kw_only=True)
class StatusCommand:
    """Tell where a build stands, running or interrupted."""

    out: str
    """Folder or URL of the shards."""
    work: Path | None = None
    """Where `out` is a URL: the work folder of the build."""
    json: bool = False
    """Print the result as JSON."""


def build_command(command: BuildCommand) -> int:
    """Build, and report what was skipped or mended."""
    if command.dry_run:
        print(estimate(command.plan).describe(command.workers))
        return 0
    options = BuildOptions(
        where=command.where,
        restart=command.restart,
        retry_skipped=command.retry_skipped,
        max_failures=command.max_failures,
    )
    begun = time.monotonic()
    with Progress("build", "clips") as progress:
        if command.part is None:
            report = build(command.plan, options, progress)
        else:
            part, num_parts = map(int, command.part.split("/"))
            report = build_part(command.plan, options, part, num_parts, progress)
    exit_code = _print_build(report, command, time.monotonic() - begun)
    if command.part is not None:
        print(f"part {command.part} is built; after all parts: epam-data finalise")
        return 0  # the whole decides about failures, in `finalise`
    return exit_code


def finalise_command(command: FinaliseCommand) -> int:
    """Merge the parts, and report as `build` does."""
    begun = time.monotonic()
    return _print_build(finalise(command.plan), command, time.monotonic() - begun)


def _print_build(report: BuildReport, command: BuildCommand, seconds: float) -> int:
    """Say what was built and what was not; returns the exit code."""
    shown = [problem for problem in report.problems if problem.action != "excluded"]
    for problem in shown[:_MAX_PROBLEMS]:
        print(f"{problem.action}: {problem.reason}", file=sys.stderr)
    if len(shown) > _MAX_PROBLEMS:
        print(f"and {len(shown) - _MAX_PROBLEMS} more", file=sys.stderr)
    print(
        f"{report.num_samples} clips in {report.num_shards} shards ({report.num_reused} reused), "
        f"{volume(report.num_bytes)} in {command.out}, {duration(seconds)}"
    )
    for (action, kind), count in Counter((p.action, p.kind) for p in report.problems).most_common():
        print(f"{count} {action}: {kind}")
    if report.problems and command.part is None:
        print(f"all {len(report.problems)} with their reasons: {command.out}/{PROBLEMS}")
    return 1 if report.num_skipped > command.max_failures else 0


def pilot_command(command: PilotCommand) -> int:
    """Try some clips, and print what they tell."""
    with TemporaryDirectory() as scratch, Progress("pilot", "clips") as progress:
        plan = BuildPlan(
            dataset=command.dataset,
            raw=command.raw,
            prepare=command.prepare,
            shard=command.shard,
            out=command.out or Path(scratch),
            limits=command.limits,
        )
        report = pilot(plan, command.pilot, ExecutorSettings(workers=command.workers), progress)
    print(json.dumps(asdict(report), indent=1) if command.json else report.describe())
    return 0 if report.num_built else 2


def status_command(command: StatusCommand) -> int:
    """Print where the build stands."""
    status = build_status(command.out, command.work)
    print(json.dumps(asdict(status), indent=1) if command.json else status.describe())
    return 0
