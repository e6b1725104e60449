"""Predictions as a submission to MA-52's evaluation server, which has the hidden labels of the test split."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from epam_model.evaluate.metrics import probabilities
from epam_model.evaluate.predict import TOP_CLASSES, Predictions

CSV_NAME = "prediction.csv"
"""The file that the server needs at the top level of the .zip."""

_LEVELS = ("action", "body")


def write_submission(path: Path, predictions: Predictions, coarse_of: Sequence[int], scores: str = "fused") -> None:
    """Write the five most probable actions and body groups of each clip.

    A group is as probable as its most probable action: `body_pred_1` is then the group of `action_pred_1`, as in the
    F1 scores of `metrics.measure` and in the published evaluation.

    Args:
        path: a .csv, or the .zip to upload, which contains it.
        predictions: of the split; labels are ignored.
        coarse_of: group of each class.
        scores: which of `metrics.score_tables` ranks the classes.

    Raises:
        ValueError: another ending, fewer than five classes or groups, or no such scores.
    """
    if path.suffix not in (".csv", ".zip"):
        raise ValueError(f"{path}: a submission must be a .csv or .zip file")
    actions, num_groups = probabilities(predictions.logits, scores), max(coarse_of, default=-1) + 1
    if min(actions.shape[1], num_groups) < TOP_CLASSES:
        counts = f"{actions.shape[1]} and {num_groups}"
        raise ValueError(f"{path}: a submission needs at least {TOP_CLASSES} actions and groups, got {counts}")
    levels = {"action": _first_five(actions), "body": _first_five(group_scores(actions, coarse_of))}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = range(1, TOP_CLASSES + 1)
    writer.writerow(["vid", *(f"{level}_pred_{number}" for level in _LEVELS for number in numbers)])
    for row, key in enumerate(predictions.keys):
        writer.writerow([key, *(label for level in _LEVELS for label in levels[level][row])])
    if path.suffix == ".csv":
        path.write_text(text.getvalue(), encoding="utf-8")
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # ZipInfo has a fixed time by default, so that the same predictions give the same bytes.
        archive.writestr(zipfile.ZipInfo(CSV_NAME), text.getvalue(), zipfile.ZIP_DEFLATED)


def group_scores(scores: Tensor, coarse_of: Sequence[int]) -> Tensor:
    """The highest score among the classes of each group: (N, Kc) from (N, K)."""
    groups = torch.tensor(coarse_of).expand_as(scores)
    best = scores.new_full((len(scores), max(coarse_of) + 1), -torch.inf)
    return best.scatter_reduce(1, groups, scores, "amax")


def _first_five(scores: Tensor) -> list[list[int]]:
    labels: list[list[int]] = scores.sort(dim=1, descending=True, stable=True).indices[:, :TOP_CLASSES].tolist()
    return labels
