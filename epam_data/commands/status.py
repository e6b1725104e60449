"""`epam-data status`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from epam_data.build.status import build_status
from epam_data.system.printable import printable_lines


@dataclass(frozen=True, kw_only=True)
class StatusCommand:
    """Show the progress of a build, running or interrupted."""

    out: str
    """Folder or URL of the shards."""
    work: Path | None = None
    """If `out` is a URL: the work folder of the build."""
    json: bool = False
    """Print the result as JSON."""


def status_command(command: StatusCommand) -> int:
    """Print how far the build is."""
    status = build_status(command.out, command.work)
    print(json.dumps(asdict(status), indent=1, allow_nan=False) if command.json else printable_lines(status.describe()))
    return 0
