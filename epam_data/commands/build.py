"""`epam-data build` and `epam-data finalise`."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from epam_data.build.build import BuildOptions, BuildReport, build, build_part, finalise
from epam_data.build.plan import BuildPlan, ClipLimits, Selection
from epam_data.readers import RawSettings
from epam_data.recipe import FLAT
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.layout import PROBLEMS
from epam_data.shards.settings import ShardSettings
from epam_data.system.executors import ExecutorSettings, on_all_cores
from epam_data.system.printable import printable, printable_lines
from epam_data.system.progress import Progress, duration, volume

_MAX_PROBLEMS = 20  # lines on the terminal; the file has all
_MAX_CHARACTERS = 1000  # of one of them


@dataclass(frozen=True, kw_only=True)
class BuildCommand:
    """Build shards from raw recordings.

    After an interruption, rerun the same command to resume.
    """

    dataset: str
    """Data set, as docs/raw-data.md lists them, or `module:NAME` of your own reader, whose code is run: from Python's
    path, and from this folder with --allow-code-here."""
    raw: RawSettings
    out: str
    """Folder of the shards, or an fsspec URL such as s3://bucket/ntu60."""
    work: Path | None = None
    """If `out` is a URL: a folder that all workers see, for the skeleton store, the lock and unfinished shards."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    shard: ShardSettings = field(default_factory=ShardSettings)
    limits: ClipLimits = field(default_factory=ClipLimits)
    where: ExecutorSettings = field(default_factory=on_all_cores, metadata=FLAT)
    part: str | None = None
    """`i/n`: build only every n-th shard from shard i (0-based) on, as task i of an array job; then run `finalise`."""
    selection: Selection = field(default_factory=Selection, metadata=FLAT)
    dry_run: bool = False
    """Build nothing: measure a few clips, and print the size and time of the whole build, or why none can be built."""
    restart: bool = False
    """Replace a build of other inputs in the same folder."""
    retry_skipped: bool = False
    """Rebuild finished shards that lack clips, after their videos were repaired."""
    max_failures: int = 0
    """With more skipped clips, the exit code is 1. Below 20, a build stops if its first 20 clips all fail alike."""

    def __post_init__(self) -> None:
        _ = self.plan  # it checks itself
        if self.out.startswith("memory://") and (self.where.workers or self.where.executor != "local"):
            raise ValueError("memory:// exists in one process only: use --workers 0")
        if self.part is not None and not re.fullmatch(r"\d+/\d+", self.part):
            raise ValueError(f"part must be i/n, as 3/20, got {self.part!r}")

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
            selection=self.selection,
        )


@dataclass(frozen=True, kw_only=True)
class FinaliseCommand:
    """Finish a build whose parts are all done: write index, problems and manifest.

    Takes the options of its `build`.
    """

    build: BuildCommand = field(metadata=FLAT)

    def __post_init__(self) -> None:
        for name in ("dry_run", "part", "restart", "retry_skipped"):
            if getattr(self.build, name):
                raise ValueError(f"{name} is an option of build; finalise builds nothing")


def build_command(command: BuildCommand) -> int:
    """Build, and report what was skipped or mended."""
    if command.dry_run:
        from epam_data.build.estimate import estimate

        estimated = estimate(command.plan)
        print(printable_lines(estimated.describe(command.where.workers)))
        return 0 if estimated.measured else 2
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
        return 0  # `finalise` counts the failures of all parts
    return exit_code


def finalise_command(command: FinaliseCommand) -> int:
    """Merge the parts, and report as `build` does."""
    begun = time.monotonic()
    return _print_build(finalise(command.build.plan), command.build, time.monotonic() - begun)


def _print_build(report: BuildReport, command: BuildCommand, seconds: float) -> int:
    """Print what was built and what was not; returns the exit code."""
    shown = [problem for problem in report.problems if problem.action != "excluded"]
    for problem in shown[:_MAX_PROBLEMS]:
        print(printable(f"{problem.action}: {problem.reason}", _MAX_CHARACTERS), file=sys.stderr)
    if len(shown) > _MAX_PROBLEMS:
        print(f"and {len(shown) - _MAX_PROBLEMS} more", file=sys.stderr)
    print(
        f"{report.num_samples} clips in {report.num_shards} shards ({report.num_reused} reused), "
        f"{volume(report.num_bytes)} in {command.out}, {duration(seconds)}"
    )
    for (action, kind), count in Counter((p.action, p.kind) for p in report.problems).most_common():
        print(printable(f"{count} {action}: {kind}", _MAX_CHARACTERS))
    if report.problems and command.part is None:
        print(f"all {len(report.problems)} with their reasons: {command.out}/{PROBLEMS}")
    if not report.num_samples and command.part is None:
        print("no clip could be built, so this is no data set: there is no manifest", file=sys.stderr)
        return 2
    return 1 if report.num_skipped > command.max_failures else 0
