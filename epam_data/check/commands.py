"""`epam-data check` and `epam-data inspect`: what they take, and what they print."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from epam_data.check.check import CheckReport, CheckSettings, check
from epam_data.system.executors import ExecutorSettings, available_cores
from epam_data.system.progress import Progress

_MAX_PROBLEMS = 20  # lines on the terminal; --json and the report have all


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """Check shards: exit code 0 nothing wrong, 1 problems, 2 unusable."""

    shards: Path
    """Folder of the shards."""
    check: CheckSettings = field(default_factory=CheckSettings)
    sample: int | str | None = None
    """Short for --check.sample: clips to check in depth, a number, a share as `1%`, or `all`."""
    rgb: bool = False
    """Short for --check.rgb: decode every frame of these clips, and compare what moves in it with the joints."""
    report: Path | None = None
    """Folder for an HTML report."""
    json: bool = False
    """Print the result as JSON."""
    workers: int = available_cores()
    """Processes of this machine; 0 works in this one."""
    executor: str = "local"
    """Where shards are checked: `local` processes, or `dask`."""
    dask_address: str | None = None
    """Scheduler of the Dask cluster, as tcp://host:8786; null: a cluster of `workers` processes on this machine."""

    def __post_init__(self) -> None:
        _ = self.where, self.settings

    @property
    def settings(self) -> CheckSettings:
        """How deep to look, the short forms applied."""
        sample = self.check.sample if self.sample is None else self.sample
        return replace(self.check, sample=sample, rgb=self.rgb or self.check.rgb)

    @property
    def where(self) -> ExecutorSettings:
        """Where shards are checked."""
        return ExecutorSettings(executor=self.executor, workers=self.workers, dask_address=self.dask_address)


def check_command(command: CheckCommand) -> int:
    """Check, print the findings, write the report."""
    if command.report is not None:
        _make_writable(command.report)
    with Progress("check", "shards") as progress:
        report = check(command.shards, command.settings, command.where, progress)
    _print_result(command, report)
    if command.report is not None:
        from epam_data.check.report import write_report  # not above: each worker of a build loads us, and it plots

        sys.stdout.flush()  # what was found is said, whatever becomes of the report
        print(f"report: {write_report(report, command.report)}", file=sys.stderr if command.json else sys.stdout)
    return 1 if report.findings else 0


def _make_writable(folder: Path) -> None:
    """Make the report's folder, and try it: a check of hours must not end in a refusal."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"--report {folder}: must be a folder that can be written, got {error.strerror}") from error


def _print_result(command: CheckCommand, report: CheckReport) -> None:
    if command.json:
        print(json.dumps(as_json(report), indent=1))
    else:
        for finding in report.findings[:_MAX_PROBLEMS]:
            print(finding)
        if len(report.findings) > _MAX_PROBLEMS:
            print(f"... and {len(report.findings) - _MAX_PROBLEMS} more: --json or --report has all")
        for note in report.notes:
            print(f"note: {note}")
        print(
            f"{len(report.findings)} problems in {report.num_samples} clips; {report.num_deep} in depth, "
            f"{report.num_decoded} with every frame decoded, "
            f"largest heatmap error {report.heatmap_error:.5f} of the scale"
        )


def as_json(report: CheckReport) -> dict[str, Any]:
    """A check's result for machines: figures, counts of findings by check, all findings, notes."""
    lags = Counter(clip.motion.lag for clip in report.measures if clip.motion and clip.motion.moves)
    return {
        "shards": str(report.root),
        "clean": not report.findings,
        "num_samples": report.num_samples,
        "num_deep": report.num_deep,
        "num_decoded": report.num_decoded,
        "heatmap_error": report.heatmap_error,
        "motion_lags": {str(lag): count for lag, count in sorted(lags.items())},
        "num_findings": dict(sorted(Counter(finding.check for finding in report.findings).items())),
        "findings": [asdict(finding) for finding in report.findings],
        "notes": list(report.notes),
    }
