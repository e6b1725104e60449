"""`epam-model test | predict | report`: what a checkpoint makes of a split, or of one recording."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from epam_data.build.recording import SPLIT, recording_shards
from epam_data.readers import find_reader
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.manifest import Manifest
from epam_data.show.describe import read_sample
from epam_data.show.film import write_film
from epam_data.stream import Stream, StreamSettings
from epam_model.evaluate.damage_report import damage_report
from epam_model.evaluate.metrics import SCORES, confusion_matrix, score_tables, split_name
from epam_model.evaluate.predict import TOP_CLASSES, Prediction, Predictions, collect, measures_of, most_probable
from epam_model.evaluate.restore import restore
from epam_model.evaluate.submission import write_submission
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.distributed import Ranks, choose_device, distributed, gather
from epam_model.reports.page import REPORT, Evaluation, write_report
from epam_model.weights.checkpoint import Checkpoint, load_checkpoint


@dataclass(frozen=True, kw_only=True)
class TestCommand:
    """Measure a checkpoint on a split."""

    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    split: str = "val"
    """`train`, `val` or `test`."""
    json: Path | None = None
    """File for the measures."""
    report: Path | None = None
    """Folder for a page with measures, confusions, worst classes and mistakes (report.html), and for the confusion
    matrix of each stream and fusion (confusion_<scores>.csv)."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write report.html of a run: its best checkpoint is tested again, with the settings that it was trained with."""

    run: Path
    """Folder of the run, as work_dirs/ntu60_xsub."""
    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    split: str = "val"
    """`train` or `val`."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Name the five most probable classes of each clip of a split, or of one video; labels may be hidden."""

    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    shards: str | None = None
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    video: Path | None = None
    """Instead of shards: one video. The recipe's `dataset` and `prepare` say how it becomes a clip."""
    skeleton: Path | None = None
    """Its skeleton: a pickle of one annotation, or of many, of which the one that is named like the video is taken."""
    overlay: Path | None = None
    """Video (.mp4) to write: frame, skeleton and heatmap side by side, and the classes below."""
    out: Path | None = None
    """CSV file to write: names and probabilities."""
    submission: Path | None = None
    """A .csv or .zip to write, as MA-52's evaluation server takes it: labels of actions and body groups."""
    split: str = "test"
    """`train`, `val` or `test`."""
    scores: str = "fused"
    """What decides: `fused`, `fused_2_1`, `fused_1_2` (RGB to pose), `rgb`, `pose` or `logit_sum`."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    dataset: str = ""
    """Data set whose joints and classes a video has: `ntu60`, `ma52` or `synthetic`."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)

    def __post_init__(self) -> None:
        if (self.shards is None) == (self.video is None):
            raise ValueError("predict needs either --shards or --video")
        if self.video is None and self.out is None and self.submission is None:
            raise ValueError("predict needs --out, --submission, or both")
        if (self.video is None) != (self.skeleton is None):
            raise ValueError("--video and --skeleton go together")
        if self.video is None and self.overlay is not None:
            raise ValueError("--overlay needs --video")
        if self.video is not None:
            find_reader(self.dataset)  # a ValueError that names the data sets that there are
        if self.scores not in SCORES:
            raise ValueError(f"scores must be one of {', '.join(SCORES)}, got {self.scores!r}")


def test_command(command: TestCommand) -> int:
    """Measure, print the measures of each stream and fusion on a line, write them as JSON and as a page."""
    with distributed(command.device) as ranks:
        predictions, stream = _predictions(command, ranks)
        manifest, measures = stream.manifest, measures_of(predictions, stream)
        if not measures:
            raise ValueError(f"{command.shards}: every label of {command.split} is hidden: use epam-model predict")
        if ranks.is_main:
            print(measure_lines(measures))
            if command.json is not None:
                command.json.write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
            if command.report is not None:
                tested = load_checkpoint(command.checkpoint)
                _write_report(command, tested, predictions, manifest, command.report / REPORT)
                write_confusions(command.report, predictions, manifest.classes)
    return 0


def report_command(command: ReportCommand) -> int:
    """Test the best checkpoint of a run, write the page."""
    with distributed(command.device) as ranks:
        report_run(command.run, command.shards, ranks, split=command.split)
    return 0


def report_run(
    run: Path, shards: Path | str, ranks: Ranks, *, split: str = "val", stream: StreamSettings | None = None
) -> None:
    """Write `report.html` into the folder of a run; all ranks must call it.

    Args:
        run: the folder.
        shards: folder of the shards, or their URL.
        ranks: this process among all.
        split: whose clips are predicted once more, by the best checkpoint.
        stream: how clips are read; None: as the checkpoint says, but without the cache of the machine that it is from.

    Raises:
        ValueError: the run has no best checkpoint, or it does not fit the shards.
    """
    path = gather(best_checkpoint(run) if ranks.is_main else None)[0]  # others may still see an older one
    assert path is not None
    checkpoint = load_checkpoint(path)
    command = TestCommand(
        shards=str(shards),
        checkpoint=path,
        split=split,
        stream=stream or replace(StreamSettings(**checkpoint.recipe["stream"]), cache_dir=""),
        model=ModelSettings(**checkpoint.recipe["model"]),
    )
    predictions, tested = _predictions(command, ranks)
    if ranks.is_main:
        _write_report(command, checkpoint, predictions, tested.manifest, run / REPORT)


def best_checkpoint(run: Path) -> Path:
    """The best checkpoint in the folder of a run; of several, that which was saved last.

    Raises:
        ValueError: there is none.
    """
    found = sorted(run.glob("best*.pt"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise ValueError(f"{run}: holds no best checkpoint (best*.pt)")
    return found[-1].resolve()  # best.pt may be a link to the file whose name says more


def predict_command(command: PredictCommand) -> int:
    """Predict, write the files."""
    if command.video is not None:
        return _predict_video(command)
    with distributed(command.device) as ranks:
        predictions, stream = _predictions(command, ranks)
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
    stream = replace(command.stream, workers=0)  # one clip is read sooner than a process starts
    with recording_shards(command.video, command.skeleton, command.dataset, command.prepare) as (shards, key):
        one_clip = TestCommand(
            shards=str(shards), checkpoint=command.checkpoint, split=SPLIT, stream=stream, model=command.model
        )
        predictions, shown = _predictions(one_clip, ranks)
        manifest = shown.manifest
        lines = [
            f"{probability:7.2%}  {name}"
            for name, probability in most_probable(predictions, manifest.classes, command.scores)[0].top
        ]
        print("\n".join([key, *lines]))
        _write_files(command, predictions, manifest)
        if command.overlay is not None:
            sample, _ = read_sample(shards, key)
            write_film(sample, command.overlay, caption=lines, layout=manifest.layout)
            print(f"{command.overlay}: {sample.info.num_frames} frames")
    return 0


def _write_files(command: PredictCommand, predictions: Predictions, manifest: Manifest) -> None:
    what = f"{len(predictions.keys)} clips of {command.split}" if command.video is None else str(command.video)
    if command.out is not None:
        write_predictions(command.out, most_probable(predictions, manifest.classes, command.scores))
        print(f"{what} in {command.out}")
    if command.submission is not None:
        write_submission(command.submission, predictions, manifest.coarse_of, command.scores)
        print(f"{what} in {command.submission}")


def _write_report(
    command: TestCommand, checkpoint: Checkpoint, predictions: Predictions, manifest: Manifest, path: Path
) -> None:
    evaluation = Evaluation(
        checkpoint_path=command.checkpoint,
        checkpoint=checkpoint,
        shards=command.shards,
        manifest=manifest,
        split=command.split,
        predictions=predictions,
    )
    print(f"report: {write_report(evaluation, path)}")


def measure_lines(measures: Mapping[str, float]) -> str:
    """Measures by name, those of one stream or fusion on a line."""
    lines: dict[str, list[str]] = {}
    for name, value in measures.items():
        lines.setdefault(split_name(name)[1], []).append(f"{name}: {value:.4f}")
    return "\n".join("  ".join(line) for line in lines.values())


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """A CSV file with the columns key, label (empty: hidden), class_1, probability_1, ... class_5, probability_5."""
    columns = [f"{name}_{number}" for number in range(1, TOP_CLASSES + 1) for name in ("class", "probability")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "label", *columns])
        for prediction in predictions:
            top = [value for name, probability in prediction.top for value in (name, f"{probability:.6f}")]
            writer.writerow([prediction.key, prediction.label or "", *top])


def write_confusions(folder: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    """A CSV file for each stream and fusion: clips by label (rows) and predicted class (columns)."""
    known = predictions.labels >= 0
    for name, scores in score_tables(predictions.logits).items():
        matrix = confusion_matrix(scores[known], predictions.labels[known]).tolist()
        rows = [["label", *classes], *([label, *row] for label, row in zip(classes, matrix, strict=True))]
        with (folder / f"confusion_{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def _predictions(command: TestCommand | PredictCommand, ranks: Ranks) -> tuple[Predictions, Stream]:
    """What the checkpoint says of each clip of the split, and the stream that they came from."""
    assert command.shards is not None
    model, stream, finisher = restore(
        command.checkpoint, command.shards, command.split, command.stream, command.model, ranks
    )
    predictions = collect(model, stream, finisher, ranks.device)
    report = damage_report(stream)
    if ranks.is_main:
        for line in report:
            print(line, file=sys.stderr)
    return predictions, stream
