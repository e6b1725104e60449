"""`epam-data synth | pilot | build | status | finalise | check | view | inspect`: the command line of the data half."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from epam_data.commands.program import Entry, run_command

COMMANDS = {
    "synth": Entry(
        summary="Create a small data set in NTU RGB+D's layout: videos of moving figures and a skeleton pickle.",
        command="epam_data.commands.synth:SynthCommand",
        function="epam_data.commands.synth:synth_command",
        positionals=("out",),
    ),
    "pilot": Entry(
        summary="Build some random clips and estimate the full build: failures, hours, gigabytes.",
        command="epam_data.commands.pilot:PilotCommand",
        function="epam_data.commands.pilot:pilot_command",
    ),
    "build": Entry(
        summary="Build shards from raw recordings.",
        command="epam_data.commands.build:BuildCommand",
        function="epam_data.commands.build:build_command",
    ),
    "status": Entry(
        summary="Show the progress of a build, running or interrupted.",
        command="epam_data.commands.status:StatusCommand",
        function="epam_data.commands.status:status_command",
        positionals=("out",),
    ),
    "finalise": Entry(
        summary="Finish a build whose parts are all done: write index, problems and manifest.",
        command="epam_data.commands.build:FinaliseCommand",
        function="epam_data.commands.build:finalise_command",
    ),
    "check": Entry(
        summary="Check shards; exit code 0: no problems, 1: problems, 2: unusable.",
        command="epam_data.commands.check:CheckCommand",
        function="epam_data.commands.check:check_command",
        positionals=("shards",),
    ),
    "view": Entry(
        summary="Show a view of shards: clips per split and class, and what its splits have in common.",
        command="epam_data.commands.view:ViewCommand",
        function="epam_data.commands.view:view_command",
        positionals=("shards", "view"),
    ),
    "inspect": Entry(
        summary="Show what shards contain, or one clip of them.",
        command="epam_data.commands.inspect:InspectCommand",
        function="epam_data.commands.inspect:inspect_command",
        positionals=("shards", "key"),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    return run_command("epam-data", COMMANDS, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
