"""`epam-model train | test | predict | features | profile | convert | export | doctor`: the command line of the model.

Several GPUs or processes: `torchrun --nproc-per-node 2 -m epam_model.cli train RECIPE.yaml ...`.
"""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import nn

from epam_data.config import CommandTable, run_command
from epam_data.index import load_manifest
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_model.build import build_for
from epam_model.checkpoint import LAST
from epam_model.config import ModelSettings, TrainSettings
from epam_model.distributed import Ranks, distributed
from epam_model.doctor import DoctorCommand, doctor_command
from epam_model.evaluate import TOP_CLASSES, Prediction, evaluate, predict
from epam_model.model_cli import (
    ConvertCommand,
    ExportCommand,
    FeaturesCommand,
    ProfileCommand,
    convert_command,
    export_command,
    features_command,
    profile_command,
)
from epam_model.restore import restore
from epam_model.train import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train on the split `train`, evaluate on `val` after each epoch, keep the best and the last checkpoint."""

    shards: Path
    """Folder of the shards."""
    out: Path | None = None
    """Folder of the run; work_dirs/<name of the recipe> if not given."""
    resume: bool = False
    """Go on from the last checkpoint in that folder."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


@dataclass(frozen=True, kw_only=True)
class TestCommand:
    """Measure a checkpoint on a split."""

    shards: Path
    """Folder of the shards."""
    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    split: str = "val"
    """`train`, `val` or `test`."""
    json: Path | None = None
    """File for the measures."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Write the five most probable classes of each clip of a split; labels may be hidden."""

    shards: Path
    """Folder of the shards."""
    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    out: Path
    """CSV file to write."""
    split: str = "test"
    """`train`, `val` or `test`."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


def train_command(command: TrainCommand, argv: Sequence[str]) -> int:
    """Train; Ctrl-C and a loss that is not finite end it with one line."""
    out = command.out or Path("work_dirs") / recipe_name(argv)
    manifest = load_manifest(command.shards)
    try:
        with distributed(command.train.device) as ranks:
            settings = replace(command.model, init_from=[]) if command.resume else command.model
            tell = print if ranks.is_main else lambda line: None
            trainer = Trainer(
                build_for(settings, manifest, seed=command.train.seed, tell=tell),
                shards=command.shards,
                out=out,
                stream=command.stream,
                settings=command.train,
                model_recipe=asdict(command.model),
                ranks=ranks,
            )
            trainer.fit(resume=command.resume)
    except FloatingPointError as error:
        print(f"epam-model train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nepam-model train: interrupted; {how_to_go_on(argv, out)}", file=sys.stderr)
        return 130
    return 0


def test_command(command: TestCommand) -> int:
    """Measure, print one line per measure, write them as JSON."""
    with distributed(command.device) as ranks:
        model, stream, finisher = _restore(command, ranks)
        measures = evaluate(model, stream, finisher, ranks.device)
        if not measures:
            raise ValueError(f"{command.shards}: every label of {command.split} is hidden: use epam-model predict")
        if ranks.is_main:
            for name, value in measures.items():
                print(f"{name}: {value:.4f}")
            if command.json is not None:
                command.json.write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
    return 0


def predict_command(command: PredictCommand) -> int:
    """Predict, write the CSV file."""
    with distributed(command.device) as ranks:
        model, stream, finisher = _restore(command, ranks)
        predictions = predict(model, stream, finisher, ranks.device)
        if ranks.is_main:
            write_predictions(command.out, predictions)
            print(f"{len(predictions)} clips of {command.split} in {command.out}")
    return 0


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """A CSV file with the columns key, label (empty: hidden), class_1, probability_1, ... class_5, probability_5."""
    columns = [f"{name}_{place}" for place in range(1, TOP_CLASSES + 1) for name in ("class", "probability")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "label", *columns])
        for prediction in predictions:
            top = [value for name, probability in prediction.top for value in (name, f"{probability:.6f}")]
            writer.writerow([prediction.key, prediction.label or "", *top])


def how_to_go_on(argv: Sequence[str], out: Path) -> str:
    """What to type after an interruption: the same command, with `--resume` if there is a checkpoint."""
    again = ["epam-model", *(word for word in argv if word != "--resume")]
    if not (out / LAST).exists():
        return f"there is no checkpoint yet, start anew with: {shlex.join(again)}"
    return f"go on from the last checkpoint with: {shlex.join([*again, '--resume'])}"


def recipe_name(argv: Sequence[str]) -> str:
    """The name of the recipe in `train RECIPE.yaml ...`; `default` without one."""
    return Path(argv[1]).stem if len(argv) > 1 and argv[1].endswith((".yaml", ".yml")) else "default"


def _restore(command: TestCommand | PredictCommand, ranks: Ranks) -> tuple[nn.Module, Stream, BatchFinisher]:
    return restore(
        command.checkpoint,
        shards=command.shards,
        split=command.split,
        stream_settings=command.stream,
        model_settings=command.model,
        ranks=ranks,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    words = sys.argv[1:] if argv is None else argv
    commands: CommandTable = {
        "train": (TrainCommand, lambda command: train_command(command, words), ()),
        "test": (TestCommand, test_command, ()),
        "predict": (PredictCommand, predict_command, ()),
        "features": (FeaturesCommand, features_command, ()),
        "profile": (ProfileCommand, profile_command, ()),
        "convert": (ConvertCommand, convert_command, ()),
        "export": (ExportCommand, export_command, ()),
        "doctor": (DoctorCommand, doctor_command, ()),
    }
    return run_command("epam-model", commands, words)


if __name__ == "__main__":
    sys.exit(main())
