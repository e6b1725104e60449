"""`epam-data synth`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from epam_data.synth import VIDEO_FOLDER, SynthSettings, synthesise
from epam_data.system.checked_fields import Workers, check_fields
from epam_data.system.executors import available_cores
from epam_data.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class SynthCommand:
    """Create a small data set in NTU RGB+D's layout: videos of moving figures and a skeleton pickle."""

    out: Path
    """Folder to write."""
    synth: SynthSettings = field(default_factory=SynthSettings)
    workers: Workers = field(default_factory=available_cores)
    """Processes on this machine; 0 runs everything in this process."""

    def __post_init__(self) -> None:
        check_fields(self)


def synth_command(command: SynthCommand) -> int:
    """Write the data set, and print where it is."""
    with Progress("synth", "clips") as progress:
        pickle = synthesise(command.out, command.synth, command.workers, progress)
    print(f"videos: {command.out / VIDEO_FOLDER}, skeletons: {pickle}")
    return 0
