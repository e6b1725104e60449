"""`epam-data synth | pilot | build | status | finalise | check | inspect`: the command line of the data half."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from epam_data.build.commands import (
    BuildCommand,
    FinaliseCommand,
    PilotCommand,
    StatusCommand,
    build_command,
    finalise_command,
    pilot_command,
    status_command,
)
from epam_data.check.commands import CheckCommand, check_command
from epam_data.recipe import CommandTable, run_command
from epam_data.show.commands import InspectCommand, inspect_command
from epam_data.synth import VIDEO_FOLDER, SynthSettings, synthesise
from epam_data.system.executors import available_cores
from epam_data.system.progress import Progress


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


COMMANDS: CommandTable = {
    "synth": (SynthCommand, synth_command, ("out",)),
    "pilot": (PilotCommand, pilot_command, ()),
    "build": (BuildCommand, build_command, ()),
    "status": (StatusCommand, status_command, ("out",)),
    "finalise": (FinaliseCommand, finalise_command, ()),
    "check": (CheckCommand, check_command, ("shards",)),
    "inspect": (InspectCommand, inspect_command, ("shards", "key")),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    return run_command("epam-data", COMMANDS, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
