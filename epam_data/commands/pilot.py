"""`epam-data pilot`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from epam_data.build.pilot import PilotSettings, pilot
from epam_data.build.plan import BuildPlan, ClipLimits
from epam_data.readers import RawSettings
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.settings import ShardSettings
from epam_data.system.checked_fields import Workers, check_fields
from epam_data.system.executors import ExecutorSettings, available_cores
from epam_data.system.printable import printable_lines
from epam_data.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PilotCommand:
    """Build some random clips and estimate the full build: failures, hours, gigabytes."""

    dataset: str
    """Data set, as docs/raw-data.md lists them, or `module:NAME` of your own reader, whose code is run: from Python's
    path, and from this folder with --allow-code-here."""
    raw: RawSettings
    out: Path | None = None
    """Folder to keep the clips in; null: they are deleted."""
    pilot: PilotSettings = field(default_factory=PilotSettings)
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    shard: ShardSettings = field(default_factory=ShardSettings)
    limits: ClipLimits = field(default_factory=ClipLimits)
    workers: Workers = field(default_factory=available_cores)
    """Processes on this machine; 0 runs everything in this process."""
    json: bool = False
    """Print the result as JSON."""

    def __post_init__(self) -> None:
        check_fields(self)


def pilot_command(command: PilotCommand) -> int:
    """Build some clips, and print the estimate."""
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
    print(json.dumps(asdict(report), indent=1, allow_nan=False) if command.json else printable_lines(report.describe()))
    return 0 if report.num_built else 2
