"""`epam-data synth | build | finalise | check | inspect`: the command line of the data half."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from epam_data.build import BuildOptions, BuildReport, build, build_part, finalise
from epam_data.check import CheckSettings, check
from epam_data.config import CommandTable, run_command
from epam_data.executors import available_cores
from epam_data.index import PROBLEMS
from epam_data.inspect import describe_directory, describe_sample, read_sample
from epam_data.picture import contact_sheet
from epam_data.plan import BuildPlan, ClipLimits
from epam_data.prepare import PrepareSettings
from epam_data.progress import Progress
from epam_data.readers import RawSettings
from epam_data.report import write_report
from epam_data.shard import ShardSettings
from epam_data.synth import VIDEO_FOLDER, SynthSettings, synthesise

_MAX_PROBLEMS = 20  # lines on the terminal; the file has all


@dataclass(frozen=True, kw_only=True)
class SynthCommand:
    """Make a small data set in NTU RGB+D's layout: H.264 videos of moving figures and a skeleton pickle."""

    out: Path
    """Folder to write."""
    synth: SynthSettings = field(default_factory=SynthSettings)
    workers: int = available_cores()
    """Processes; 0 works in this one."""

    def __post_init__(self) -> None:
        check_workers(self.workers)


@dataclass(frozen=True, kw_only=True)
class BuildCommand:
    """Build shards from raw recordings. Give the same command again after an interruption: it goes on."""

    dataset: str
    """Data set: `ntu60`, `ma52` or `synthetic`."""
    raw: RawSettings
    out: Path
    """Folder of the shards."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    shard: ShardSettings = field(default_factory=ShardSettings)
    limits: ClipLimits = field(default_factory=ClipLimits)
    workers: int = available_cores()
    """Processes of this machine; 0 works in this one. The shards do not depend on it."""
    executor: str = "local"
    """Where shards are built: `local` processes, or `dask`."""
    dask_address: str | None = None
    """Scheduler of the Dask cluster, as tcp://host:8786."""
    part: str | None = None
    """`i/n`: build every n-th shard from number i (0-based) only, as task i of an array job; then run `finalise`."""
    restart: bool = False
    """Replace a build of other inputs in the same folder."""
    retry_skipped: bool = False
    """Build finished shards anew that lack clips, after their videos were mended."""
    max_failures: int = 0
    """Clips that may be skipped before the exit code is 1; all others are built in any case."""

    def __post_init__(self) -> None:
        check_workers(self.workers)
        if self.executor not in ("local", "dask"):
            raise ValueError(f"executor must be local or dask, got {self.executor!r}")
        if (self.executor == "dask") != (self.dask_address is not None):
            raise ValueError("--executor dask and --dask-address belong together")
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
            limits=self.limits,
        )


class FinaliseCommand(BuildCommand):
    """End a build whose parts are all done: write index, problems and manifest. Takes the keys of `build`."""


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """Check shards: 0 nothing wrong, 1 problems, 2 unusable."""

    shards: Path
    """Folder of the shards."""
    check: CheckSettings = field(default_factory=CheckSettings)
    report: Path | None = None
    """Folder for an HTML report."""
    json: bool = False
    """Print the result as JSON."""
    workers: int = available_cores()
    """Processes; 0 works in this one."""

    def __post_init__(self) -> None:
        check_workers(self.workers)


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Show what a folder of shards holds, or one clip of it."""

    shards: Path
    """Folder of the shards."""
    key: str | None = None
    """A clip: its members, its JSON and its shapes."""
    png: Path | None = None
    """Write a picture of the clip: frames, skeleton and heatmap."""


def check_workers(workers: int) -> None:
    """Refuse a negative number of processes."""
    if workers < 0:
        raise ValueError(f"workers must be >= 0, got {workers}")


def synth_command(command: SynthCommand) -> int:
    """Synthesise, and say where it lies."""
    with Progress("synth", "clips") as progress:
        pickle = synthesise(command.out, command.synth, command.workers, progress)
    print(f"videos: {command.out / VIDEO_FOLDER}, skeletons: {pickle}")
    return 0


def build_command(command: BuildCommand) -> int:
    """Build, and report what was skipped or mended."""
    options = BuildOptions(
        workers=command.workers,
        dask_address=command.dask_address,
        restart=command.restart,
        retry_skipped=command.retry_skipped,
    )
    with Progress("build", "clips") as progress:
        if command.part is not None:
            part, num_parts = map(int, command.part.split("/"))
            num_skipped = build_part(command.plan, options, part, num_parts, progress)
            print(f"part {part} of {num_parts} is built, {num_skipped} skipped; after all parts: epam-data finalise")
            return 0  # the whole decides about failures, in `finalise`
        report = build(command.plan, options, progress)
    return _print_build(report, command)


def finalise_command(command: FinaliseCommand) -> int:
    """Merge the parts, and report as `build` does."""
    return _print_build(finalise(command.plan), command)


def _print_build(report: BuildReport, command: BuildCommand) -> int:
    """Say what was built and what was not; returns the exit code."""
    counts = Counter(problem.action for problem in report.problems)
    print(
        f"{report.num_samples} clips in {report.num_shards} shards ({report.num_reused} reused), "
        f"{report.num_bytes / 1e6:.1f} MB in {command.out}"
    )
    shown = [problem for problem in report.problems if problem.action != "excluded"]
    for problem in shown[:_MAX_PROBLEMS]:
        print(f"{problem.action}: {problem.reason}", file=sys.stderr)
    if counts:
        words = ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))
        print(f"{words}: see {command.out / PROBLEMS}")
    return 1 if report.num_skipped > command.max_failures else 0


def check_command(command: CheckCommand) -> int:
    """Check, print the findings, write the report."""
    with Progress("check", "shards") as progress:
        report = check(command.shards, command.check, command.workers, progress)
    if command.report is not None:
        print(f"report: {write_report(report, command.report)}", file=sys.stderr if command.json else sys.stdout)
    if command.json:
        figures: dict[str, Any] = {name: getattr(report, name) for name in ("num_samples", "num_deep", "heatmap_error")}
        print(json.dumps({**figures, "findings": [asdict(finding) for finding in report.findings]}, indent=1))
    else:
        for finding in report.findings[:_MAX_PROBLEMS]:
            print(": ".join(part for part in (finding.shard, finding.key, finding.what) if part))
        print(
            f"{len(report.findings)} problems in {report.num_samples} clips; {report.num_deep} in depth, "
            f"largest heatmap error {report.heatmap_error:.5f} of the scale"
        )
    return 1 if report.findings else 0


def inspect_command(command: InspectCommand) -> int:
    """Print a summary of the directory, or of one clip."""
    if command.key is None:
        if command.png is not None:
            raise ValueError("--png needs a KEY, the clip to draw")
        print(describe_directory(command.shards))
        return 0
    sample, members = read_sample(command.shards, command.key)
    print(describe_sample(sample, members))
    if command.png is not None:
        contact_sheet(sample).save(command.png)
        print(f"picture: {command.png}")
    return 0


COMMANDS: CommandTable = {
    "synth": (SynthCommand, synth_command, ("out",)),
    "build": (BuildCommand, build_command, ()),
    "finalise": (FinaliseCommand, finalise_command, ()),
    "check": (CheckCommand, check_command, ("shards",)),
    "inspect": (InspectCommand, inspect_command, ("shards", "key")),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    return run_command("epam-data", COMMANDS, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
