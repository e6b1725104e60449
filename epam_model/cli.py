"""`epam-model train | test | predict | report | features | profile | convert | export | doctor`: the command line.

Several GPUs or processes: `torchrun --nproc-per-node 2 -m epam_model.cli train RECIPE.yaml ...`, or the plain command
under Slurm's `srun`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from epam_data.recipe import CommandTable, run_command
from epam_model.commands.doctor import DoctorCommand, doctor_command
from epam_model.commands.evaluate import (
    PredictCommand,
    ReportCommand,
    TestCommand,
    predict_command,
    report_command,
    test_command,
)
from epam_model.commands.tools import (
    ConvertCommand,
    ExportCommand,
    FeaturesCommand,
    ProfileCommand,
    convert_command,
    export_command,
    features_command,
    profile_command,
)
from epam_model.commands.train import TrainCommand, train_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    words = sys.argv[1:] if argv is None else argv
    commands: CommandTable = {
        "train": (TrainCommand, lambda command: train_command(command, words), ()),
        "test": (TestCommand, test_command, ()),
        "predict": (PredictCommand, predict_command, ()),
        "report": (ReportCommand, report_command, ("run",)),
        "features": (FeaturesCommand, features_command, ()),
        "profile": (ProfileCommand, profile_command, ()),
        "convert": (ConvertCommand, convert_command, ()),
        "export": (ExportCommand, export_command, ()),
        "doctor": (DoctorCommand, doctor_command, ()),
    }
    return run_command("epam-model", commands, words)


if __name__ == "__main__":
    sys.exit(main())
