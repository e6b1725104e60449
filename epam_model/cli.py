"""`epam-model train | test | predict | profile`: the command line of the model half.

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
from epam_data.prepare import PrepareSettings
from epam_data.readers import READERS
from epam_data.skeleton import LAYOUTS
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_data.taxonomy import TAXONOMIES
from epam_model.checkpoint import LAST, check_same, check_same_clips, load_checkpoint, load_weights
from epam_model.config import ModelSettings, TrainSettings, build_model
from epam_model.distributed import Ranks, choose_device, distributed
from epam_model.evaluate import TOP_CLASSES, Prediction, evaluate, heatmap_channels, predict
from epam_model.profile import profile
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


@dataclass(frozen=True, kw_only=True)
class ProfileCommand:
    """Count parameters and multiply-adds of a recipe's network, and time it on this device."""

    dataset: str = "ntu60"
    """Data set: its classes and joints size the network."""
    batch_sizes: list[int] = field(default_factory=lambda: [1, 4])
    """Clips at a time."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


def train_command(command: TrainCommand, argv: Sequence[str]) -> int:
    """Train; Ctrl-C and a loss that is not finite end it with one line."""
    out = command.out or Path("work_dirs") / recipe_name(argv)
    manifest = load_manifest(command.shards)
    num_classes, num_joints = len(manifest.classes), heatmap_channels(manifest)
    try:
        with distributed(command.train.device) as ranks:
            trainer = Trainer(
                build_model(command.model, num_classes=num_classes, num_joints=num_joints, seed=command.train.seed),
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
        model, stream, finisher = _load(command, ranks)
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
        model, stream, finisher = _load(command, ranks)
        predictions = predict(model, stream, finisher, ranks.device)
        if ranks.is_main:
            write_predictions(command.out, predictions)
            print(f"{len(predictions)} clips of {command.split} in {command.out}")
    return 0


def profile_command(command: ProfileCommand) -> int:
    """Print the tables."""
    stream, size = command.stream, command.prepare
    if command.dataset not in READERS:
        raise ValueError(f"dataset must be one of {', '.join(READERS)}, got {command.dataset!r}")
    reader = READERS[command.dataset]
    num_channels = LAYOUTS[reader.skeleton].num_channels(size.heatmap_kind)
    num_classes = len(TAXONOMIES[reader.taxonomy].classes)
    tables = profile(
        build_model(command.model, num_classes=num_classes, num_joints=num_channels),
        rgb_shape=(3, stream.rgb_frames, size.rgb_size_px, size.rgb_size_px),
        pose_shape=(num_channels, stream.pose_frames, size.heatmap_size_px, size.heatmap_size_px),
        batch_sizes=command.batch_sizes,
        device=choose_device(command.device, 0),
    )
    print(tables)
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


def _load(command: TestCommand | PredictCommand, ranks: Ranks) -> tuple[nn.Module, Stream, BatchFinisher]:
    """The model of a checkpoint, and the stream of the split that it is to see."""
    stream = Stream(
        command.shards,
        split=command.split,
        settings=command.stream,
        training=False,
        rank=ranks.rank,
        world=ranks.world,
        pin_memory=ranks.device.type == "cuda",
    )
    checkpoint, manifest = load_checkpoint(command.checkpoint), stream.manifest
    check_same(checkpoint, str(command.checkpoint), manifest, asdict(command.model))
    check_same_clips(checkpoint, str(command.checkpoint), asdict(command.stream))
    bare = replace(command.model, rgb_pretrained=None, pose_pretrained=None)  # the checkpoint has all weights
    model = build_model(bare, num_classes=len(manifest.classes), num_joints=heatmap_channels(manifest))
    load_weights(model, checkpoint.weights, str(command.checkpoint))
    return model.to(ranks.device), stream, BatchFinisher.for_shards(manifest).to(ranks.device)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    words = sys.argv[1:] if argv is None else argv
    commands: CommandTable = {
        "train": (TrainCommand, lambda command: train_command(command, words), ()),
        "test": (TestCommand, test_command, ()),
        "predict": (PredictCommand, predict_command, ()),
        "profile": (ProfileCommand, profile_command, ()),
    }
    return run_command("epam-model", commands, words)


if __name__ == "__main__":
    sys.exit(main())
