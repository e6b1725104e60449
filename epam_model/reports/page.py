"""The report of a run, or of the test of a checkpoint: one HTML page without external files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epam_data.shards.manifest import Manifest
from epam_data.show.describe import read_sample
from epam_data.show.page import environment, image_url
from epam_data.show.picture import contact_sheet
from epam_data.system.files import atomic_write_bytes
from epam_data.versions import tool_versions
from epam_model.evaluate.metrics import class_f1, confusion_matrix, measure, probabilities, score_tables, split_name
from epam_model.evaluate.predict import Predictions
from epam_model.reports.plots import class_order, confusion_plot, curves
from epam_model.reports.run_log import METRICS, read_metrics
from epam_model.weights.checkpoint import Checkpoint

REPORT = "report.html"

_WORST, _CONFUSIONS, _MISTAKES = 15, 20, 12  # rows and pictures of the page


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A checkpoint, and its predictions for a split."""

    checkpoint_path: Path
    checkpoint: Checkpoint
    shards: Path | str
    manifest: Manifest
    split: str
    predictions: Predictions


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """The results of one class."""

    label: int
    name: str
    group: str
    clips: int
    recall: float
    precision: float | None  # None: the class is never predicted
    f1: float | None  # None: it also has no clips
    taken_for: str  # the most frequent wrong class and its clips; "": no clip is wrong


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A clip with a confident wrong prediction."""

    key: str
    label: str
    own: float  # probability of its label
    taken_for: str  # the predicted class
    probability: float  # of the predicted class
    url: str  # URL of its picture
    width: int
    height: int


def write_report(evaluation: Evaluation, path: Path) -> Path:
    """Write the page: metrics, curves, confusions, worst classes, most confident mistakes, settings.

    The curves come from `metrics.jsonl` next to the checkpoint, if it exists.

    Args:
        evaluation: what to show.
        path: path of the page; its folder is created if needed.

    Returns:
        The page's path.

    Raises:
        ValueError: every label of the split is hidden.
    """
    predictions, manifest = evaluation.predictions, evaluation.manifest
    known = predictions.labels >= 0
    metrics = measure(predictions.logits, predictions.labels, manifest.coarse_of)
    if not metrics:
        raise ValueError(f"{evaluation.shards}: every label of {evaluation.split} is hidden; use epam-model predict")
    labels = predictions.labels[known]
    matrices = {
        name: confusion_matrix(scores[known], labels) for name, scores in score_tables(predictions.logits).items()
    }
    first = next(iter(matrices))  # the main result: the 1:1 fusion, or the only stream
    classes = class_rows(matrices[first], manifest)
    run = evaluation.checkpoint_path.parent
    page = environment("epam_model", "epam_data").get_template("training_report.html.j2")
    text = page.render(
        run=run.resolve().name,
        evaluation=evaluation,
        manifest=manifest,
        prepare=asdict(manifest.prepare),
        num_hidden=int((~known).sum()),
        num_left_out=_clips_of(manifest, evaluation.split) - len(known),
        metrics=metrics,
        scores=first,
        table=_table(metrics),
        curves=curves(read_metrics(run / METRICS)),
        confusions=[
            confusion_plot(matrix, manifest, f"Confusion matrix of {name}") for name, matrix in matrices.items()
        ],
        pairs=_most_confused(matrices[first], manifest)[:_CONFUSIONS],
        classes=classes,
        worst=sorted((row for row in classes if row.clips), key=lambda row: row.f1 or 0.0)[:_WORST],
        mistakes=[_mistake(evaluation, row) for row in confident_mistakes(predictions)[:_MISTAKES]],
        settings=_settings(evaluation.checkpoint),
        versions={**tool_versions(), "torch": torch.__version__},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, text.encode())
    return path


def class_rows(matrix: Tensor, manifest: Manifest) -> list[ClassRow]:
    """All classes, sorted by coarse group, from a confusion matrix."""
    f1, rows = class_f1(matrix), []
    for label in class_order(manifest):
        clips, predicted, right = int(matrix[label].sum()), int(matrix[:, label].sum()), int(matrix[label, label])
        wrong = matrix[label].clone()
        wrong[label] = 0
        other = int(wrong.argmax())
        rows.append(
            ClassRow(
                label=label,
                name=manifest.classes[label],
                group=manifest.groups[manifest.coarse_of[label]] if manifest.groups else "",
                clips=clips,
                recall=right / clips if clips else 0.0,
                precision=right / predicted if predicted else None,
                f1=float(f1[label]) if clips + predicted else None,
                taken_for=f"{manifest.classes[other]} ({int(wrong[other])})" if wrong.any() else "",
            )
        )
    return rows


def confident_mistakes(predictions: Predictions) -> list[int]:
    """Rows of the clips whose most probable class is wrong, the most confident first, without hidden labels."""
    top, guess = probabilities(predictions.logits).max(dim=1)
    wrong = (predictions.labels >= 0) & (guess != predictions.labels)
    rows = wrong.nonzero()[:, 0]
    order: list[int] = rows[top[rows].argsort(descending=True, stable=True)].tolist()
    return order


def _mistake(evaluation: Evaluation, row: int) -> Mistake:
    predictions, classes = evaluation.predictions, evaluation.manifest.classes
    scores = probabilities({name: logits[row : row + 1] for name, logits in predictions.logits.items()})[0]
    label, guess = int(predictions.labels[row]), int(scores.argmax())
    sample, _ = read_sample(evaluation.shards, predictions.keys[row])
    image = contact_sheet(sample, 1, layout=evaluation.manifest.layout)
    return Mistake(
        key=predictions.keys[row],
        label=classes[label],
        own=float(scores[label]),
        taken_for=classes[guess],
        probability=float(scores[guess]),
        url=image_url(image),
        width=image.width,
        height=image.height,
    )


def _clips_of(manifest: Manifest, split: str) -> int:
    return sum(shard.num_samples for shard in manifest.shards if shard.split == split)


def _table(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Metrics by stream or fusion, then by kind."""
    table: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        kind, scores = split_name(name)
        table.setdefault(scores, {})[kind] = value
    return table


def _most_confused(matrix: Tensor, manifest: Manifest) -> list[tuple[str, str, int, int, bool]]:
    """(label, predicted class, clips, clips of the label, whether both have the same group), most clips first."""
    group = manifest.coarse_of or range(len(manifest.classes))  # without groups, each class is its own group
    wrong = matrix.clone().fill_diagonal_(0)
    pairs = [(int(wrong[a, b]), a, b) for a, b in wrong.nonzero().tolist()]
    return [
        (
            manifest.classes[a],
            manifest.classes[b],
            count,
            int(matrix[a].sum()),
            group[a] == group[b],
        )
        for count, a, b in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))
    ]


def _settings(checkpoint: Checkpoint) -> list[tuple[str, Any]]:
    return [leaf for section, values in checkpoint.recipe.items() for leaf in _leaves(section, values)]


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    else:
        yield name, value
