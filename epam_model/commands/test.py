"""`epam-model test`."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from epam_data.schema import Split
from epam_data.shards.manifest import Manifest
from epam_data.stream import Stream, StreamSettings
from epam_data.system.printable import csv_text
from epam_model.evaluate.damage_report import damage_report
from epam_model.evaluate.metrics import confusion_matrix, score_tables, split_name
from epam_model.evaluate.predict import Predictions, collect, metrics_of
from epam_model.evaluate.restore import restore
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.device import Device
from epam_model.ranks.distributed import Ranks, distributed
from epam_model.weights.checkpoint import Checkpoint, load_checkpoint

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TestCommand:
    """Measure a checkpoint on a split."""

    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    split: Split = "val"
    """Split to use."""
    json: Path | None = None
    """JSON file to write the metrics to."""
    report: Path | None = None
    """Folder for a page with metrics, confusions, worst classes and mistakes (report.html), and for the confusion
    matrix of each stream and fusion (confusion_<scores>.csv)."""
    device: Device = "auto"
    """Device; `auto`: a GPU if there is one."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


def test_command(command: TestCommand) -> int:
    """Measure, print the metrics of each stream and fusion on a line, write them as JSON and as a page."""
    with distributed(command.device) as ranks:
        predictions, stream = predictions_of(command, ranks)
        manifest, metrics = stream.manifest, metrics_of(predictions, stream)
        if not metrics:
            raise ValueError(f"{command.shards}: every label of {command.split} is hidden; use epam-model predict")
        if ranks.is_main:
            print(metric_lines(metrics))
            if command.json is not None:
                command.json.write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            if command.report is not None:
                tested = load_checkpoint(command.checkpoint)
                write_page(command, tested, predictions, manifest, command.report)
                write_confusions(command.report, predictions, manifest.classes)
    return 0


def predictions_of(command: TestCommand, ranks: Ranks) -> tuple[Predictions, Stream]:
    """What the checkpoint predicts for each clip of the split, and the stream that they came from."""
    model, stream, finisher = restore(
        command.checkpoint, command.shards, command.split, command.stream, command.model, ranks
    )
    predictions = collect(model, stream, finisher, ranks.device)
    report = damage_report(stream)
    if ranks.is_main:
        for line in report:
            _log.warning(line)
    return predictions, stream


def metric_lines(metrics: Mapping[str, float]) -> str:
    """Metrics by name, those of one stream or fusion on a line."""
    lines: dict[str, list[str]] = {}
    for name, value in metrics.items():
        lines.setdefault(split_name(name)[1], []).append(f"{name}: {value:.4f}")
    return "\n".join("  ".join(line) for line in lines.values())


def write_page(
    command: TestCommand, checkpoint: Checkpoint, predictions: Predictions, manifest: Manifest, folder: Path
) -> None:
    """Write report.html into a folder, and print where it is."""
    from epam_model.reports.page import REPORT, Evaluation, write_report  # here: it loads jinja2 and matplotlib

    evaluation = Evaluation(
        checkpoint_path=command.checkpoint,
        checkpoint=checkpoint,
        shards=command.shards,
        manifest=manifest,
        split=command.split,
        predictions=predictions,
    )
    print(f"report: {write_report(evaluation, folder / REPORT)}")


def write_confusions(folder: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    """A CSV file for each stream and fusion: clips by label (rows) and predicted class (columns)."""
    known = predictions.labels >= 0
    for name, scores in score_tables(predictions.logits).items():
        matrix = confusion_matrix(scores[known], predictions.labels[known]).tolist()
        names = [csv_text(label) for label in classes]
        rows = [["label", *names], *([label, *row] for label, row in zip(names, matrix, strict=True))]
        with (folder / f"confusion_{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
