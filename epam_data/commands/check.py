"""`epam-data check`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from epam_data.check.check import CheckReport, CheckSettings, check
from epam_data.recipe import FLAT
from epam_data.system.executors import ExecutorSettings, on_all_cores
from epam_data.system.printable import printable
from epam_data.system.progress import Progress

_MAX_PROBLEMS = 20  # lines on the terminal; --json and the report have all


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """Check shards; exit code 0: no problems, 1: problems, 2: unusable."""

    shards: Path
    """Folder of the shards."""
    check: CheckSettings = field(default_factory=CheckSettings)
    sample: int | str | None = None
    """Short for --check.sample: clips to check in depth: a number, a share such as `1%`, or `all`."""
    rgb: bool = False
    """Short for --check.rgb: decode every frame of these clips, and compare its motion with that of the joints."""
    report: Path | None = None
    """Folder for an HTML report."""
    json: bool = False
    """Print the result as JSON."""
    where: ExecutorSettings = field(default_factory=on_all_cores, metadata=FLAT)

    def __post_init__(self) -> None:
        _ = self.settings  # they check themselves

    @property
    def settings(self) -> CheckSettings:
        """How deep to look, the short forms applied."""
        sample = self.check.sample if self.sample is None else self.sample
        return replace(self.check, sample=sample, rgb=self.rgb or self.check.rgb)


def check_command(command: CheckCommand) -> int:
    """Check, print the findings, write the report."""
    if command.report is not None:
        _make_writable(command.report)
    with Progress("check", "shards") as progress:
        report = check(command.shards, command.settings, command.where, progress)
    _print_result(command, report)
    if command.report is not None:
        from epam_data.check.report import write_report  # here: it loads jinja2 and matplotlib

        sys.stdout.flush()  # the findings are printed even if the report fails
        print(f"report: {write_report(report, command.report)}", file=sys.stderr if command.json else sys.stdout)
    return 1 if report.findings else 0


def _make_writable(folder: Path) -> None:
    """Create the report's folder, and write to it: a check of hours must not fail at its end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"--report {folder}: must be a folder that can be written, got {error.strerror}") from error


def _print_result(command: CheckCommand, report: CheckReport) -> None:
    if command.json:
        print(json.dumps(as_json(report), indent=1, allow_nan=False))
    else:
        for finding in report.findings[:_MAX_PROBLEMS]:
            print(finding)
        if len(report.findings) > _MAX_PROBLEMS:
            print(f"... and {len(report.findings) - _MAX_PROBLEMS} more: --json or --report has all")
        for note in report.notes:
            print(printable(f"note: {note}", 1000))
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
