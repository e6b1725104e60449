"""`epam-model predict`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from epam_data.build.recording import SPLIT, recording_shards
from epam_data.readers import find_reader
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Split
from epam_data.shards.manifest import Manifest
from epam_data.show.describe import read_sample
from epam_data.show.film import write_film
from epam_data.stream import StreamSettings
from epam_data.system.checked_fields import check_fields
from epam_data.system.printable import csv_text, printable, printable_lines
from epam_model.commands.test import TestCommand, predictions_of
from epam_model.evaluate.metrics import Scores
from epam_model.evaluate.predict import TOP_CLASSES, Prediction, Predictions, most_probable
from epam_model.evaluate.submission import write_submission
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.device import Device
from epam_model.ranks.distributed import Ranks, choose_device, distributed


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Name the five most probable classes of each clip of a split, or of one video; labels may be hidden."""

    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    shards: str | None = None
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    video: Path | None = None
    """One video instead of shards; the recipe's `dataset` and `prepare` say how to prepare it."""
    skeleton: Path | None = None
    """Skeleton of the video: a pickle of one annotation, or of many, one of which has the video's name."""
    overlay: Path | None = None
    """Video (.mp4) to write: frame, skeleton and heatmap side by side, with the classes below."""
    out: Path | None = None
    """CSV file to write: names and probabilities."""
    submission: Path | None = None
    """A .csv or .zip to write for MA-52's evaluation server: labels of actions and body groups."""
    split: Split = "test"
    """Split to use."""
    scores: Scores = "fused"
    """Scores to rank classes by; `fused_2_1` counts RGB twice, `fused_1_2` the pose."""
    device: Device = "auto"
    """Device; `auto`: a GPU if there is one."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    dataset: str = ""
    """Data set whose joints and classes the video has; docs/raw-data.md lists them."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.shards is None) == (self.video is None):
            raise ValueError("predict needs either --shards or --video")
        if self.video is None and self.out is None and self.submission is None:
            raise ValueError("predict needs --out, --submission, or both")
        if (self.video is None) != (self.skeleton is None):
            raise ValueError("--video and --skeleton need each other")
        if self.video is None and self.overlay is not None:
            raise ValueError("--overlay needs --video")
        if self.video is not None:
            find_reader(self.dataset)  # its error lists the data sets


def predict_command(command: PredictCommand) -> int:
    """Predict, write the files."""
    if command.video is not None:
        return _predict_video(command)
    assert command.shards is not None
    with distributed(command.device) as ranks:
        predictions, stream = predictions_of(_test_of(command, command.shards, command.split, command.stream), ranks)
        if command.submission is not None and len(predictions.keys) < stream.num_samples:
            raise ValueError(
                f"{command.submission}: a submission must have all {stream.num_samples} clips of {command.split}, "
                f"{stream.num_samples - len(predictions.keys)} cannot be read"
            )
        if ranks.is_main:
            _write_files(command, predictions, stream.manifest)
    return 0


def _predict_video(command: PredictCommand) -> int:
    """Name the classes of one video, through shards of this one clip."""
    assert command.video is not None and command.skeleton is not None
    ranks = Ranks(device=choose_device(command.device, 0))
    stream = replace(command.stream, workers=0)  # reading one clip takes less time than starting a process
    with recording_shards(command.video, command.skeleton, command.dataset, command.prepare) as (shards, key):
        predictions, shown = predictions_of(_test_of(command, str(shards), SPLIT, stream), ranks)
        manifest = shown.manifest
        lines = [
            f"{probability:7.2%}  {printable(name)}"
            for name, probability in most_probable(predictions, manifest.classes, command.scores)[0].top
        ]
        print(printable_lines("\n".join([key, *lines])))
        _write_files(command, predictions, manifest)
        if command.overlay is not None:
            sample, _ = read_sample(shards, key)
            write_film(sample, command.overlay, caption=lines, layout=manifest.layout)
            print(f"{command.overlay}: {sample.info.num_frames} frames")
    return 0


def _test_of(command: PredictCommand, shards: str, split: Split, stream: StreamSettings) -> TestCommand:
    return TestCommand(shards=shards, checkpoint=command.checkpoint, split=split, stream=stream, model=command.model)


def _write_files(command: PredictCommand, predictions: Predictions, manifest: Manifest) -> None:
    what = f"{len(predictions.keys)} clips of {command.split}" if command.video is None else str(command.video)
    if command.out is not None:
        write_predictions(command.out, most_probable(predictions, manifest.classes, command.scores))
        print(f"{what} in {command.out}")
    if command.submission is not None:
        write_submission(command.submission, predictions, manifest.coarse_of, command.scores)
        print(f"{what} in {command.submission}")


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """A CSV file with the columns key, label (empty: hidden), class_1, probability_1, ... class_5, probability_5."""
    columns = [f"{name}_{number}" for number in range(1, TOP_CLASSES + 1) for name in ("class", "probability")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "label", *columns])
        for prediction in predictions:
            top = [value for name, share in prediction.top for value in (csv_text(name), f"{share:.6f}")]
            writer.writerow([csv_text(prediction.key), csv_text(prediction.label or ""), *top])
