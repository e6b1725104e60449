"""`epam-model train | folds | test | predict | report | features | profile | convert | export | doctor`: the commands.

Several GPUs or processes: `torchrun --nproc-per-node 2 -m epam_model.cli train RECIPE.yaml ...`, or the plain command
under Slurm's `srun`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from epam_data.commands.program import Entry, run_command

COMMANDS = {
    "train": Entry(
        summary="Train on the split `train`, evaluate on `val` after each epoch, keep the best and last checkpoints.",
        command="epam_model.commands.train:TrainCommand",
        function="epam_model.commands.train:train_command",
        takes_argv=True,
    ),
    "folds": Entry(
        summary="Train each fold of a view, and print the mean over people.",
        command="epam_model.commands.folds:FoldsCommand",
        function="epam_model.commands.folds:folds_command",
        takes_argv=True,
    ),
    "test": Entry(
        summary="Measure a checkpoint on a split.",
        command="epam_model.commands.test:TestCommand",
        function="epam_model.commands.test:test_command",
    ),
    "predict": Entry(
        summary="Name the five most probable classes of each clip of a split, or of one video; labels may be hidden.",
        command="epam_model.commands.predict:PredictCommand",
        function="epam_model.commands.predict:predict_command",
    ),
    "report": Entry(
        summary="Write report.html of a run: test its best checkpoint again, with the settings of its training.",
        command="epam_model.commands.report:ReportCommand",
        function="epam_model.commands.report:report_command",
        positionals=("run",),
    ),
    "features": Entry(
        summary="Write features, logits and attention maps of each clip of a split to HDF5.",
        command="epam_model.commands.features:FeaturesCommand",
        function="epam_model.commands.features:features_command",
    ),
    "profile": Entry(
        summary="Count parameters and multiply-adds of a recipe's network, and time it on this device.",
        command="epam_model.commands.profile:ProfileCommand",
        function="epam_model.commands.profile:profile_command",
    ),
    "convert": Entry(
        summary="Convert the names of a checkpoint, strictly, and report every tensor.",
        command="epam_model.commands.convert:ConvertCommand",
        function="epam_model.commands.convert:convert_command",
    ),
    "export": Entry(
        summary="Export a network in evaluation mode as one graph, for torch.export or ONNX.",
        command="epam_model.commands.export:ExportCommand",
        function="epam_model.commands.export:export_command",
    ),
    "doctor": Entry(
        summary="Show what is installed and what is wrong; with --mmaction also inside MMAction2.",
        command="epam_model.commands.doctor:DoctorCommand",
        function="epam_model.commands.doctor:doctor_command",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    return run_command("epam-model", COMMANDS, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
