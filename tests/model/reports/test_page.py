import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_model.evaluate.metrics import confusion_matrix
from epam_model.evaluate.predict import Predictions
from epam_model.reports.page import Evaluation, class_rows, confident_mistakes, write_report
from epam_model.weights.checkpoint import Checkpoint, shards_identity

LABELS = [0, 1, 2, 3, 4, 5, 0]  # of the evaluation clips of the tiny shards
GUESSES = [0, 1, 2, 3, 5, 5, 1]


@pytest.fixture
def evaluation(shards: Path, tmp_path: Path) -> Evaluation:
    """Five of seven right; the last clip is the more confident mistake."""
    manifest, index = load_manifest(shards), load_index(shards)
    keys = [key.decode() for key in index.keys if key.startswith(b"val")]
    height = torch.tensor([2.0, 2, 2, 2, 1, 2, 3])[:, None]
    logits = {name: height * torch.eye(6)[GUESSES] for name in ("rgb", "pose")}
    recipe = {"stream": {"batch_size": 7}, "model": {"head": "linear"}, "train": {"loss": {"rgb": 1.5}}}
    checkpoint = Checkpoint(
        weights={}, optimizer={}, epoch=4, consumed=0, shards=shards_identity(manifest), recipe=recipe
    )
    return Evaluation(
        checkpoint_path=tmp_path / "my_run" / "best.pt",
        checkpoint=checkpoint,
        shards=shards,
        manifest=manifest,
        split="val",
        predictions=Predictions(keys=keys, labels=torch.tensor(LABELS), logits=logits),
    )


def words(path: Path) -> str:
    """The text of a page without its tags."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", path.read_text(), flags=re.DOTALL).split())


def test_the_page_says_what_there_is(evaluation: Evaluation, tmp_path: Path):
    path = write_report(evaluation, tmp_path / "my_run" / "report.html")
    text, classes = words(path), evaluation.manifest.classes
    assert "Top-1 71.43 % on val best.pt, after epoch 4; scores: fused. 7 clips of synthetic" in text
    assert "fused_2_1 0.7143 0.8571" in text and "logit_sum 0.7143" in text
    assert f"{classes[0]} {classes[1]} 1 2 same" in text and f"{classes[4]} {classes[5]} 1 1 same" in text
    assert "train.loss.rgb 1.5" in text and "stream.batch_size 7" in text
    assert f"torch {torch.__version__}" in text
    mistakes = re.findall(r"<figcaption><b>([^<]*)</b>", path.read_text())
    assert mistakes == ["val-6", "val-4"], "the most confident first"
    assert f"taken for {classes[1]} (0.801)" in text


def test_classes_without_groups_have_a_page(evaluation: Evaluation, plain_shards: Path, tmp_path: Path):
    manifest = load_manifest(plain_shards)
    logits = {name: torch.nn.functional.pad(scores, (0, 7)) for name, scores in evaluation.predictions.logits.items()}
    predictions = replace(evaluation.predictions, logits=logits)
    plain = replace(evaluation, shards=plain_shards, manifest=manifest, predictions=predictions)
    path = write_report(plain, tmp_path / "report.html")
    text = words(path)
    assert "class 0 class 1 1 2 class 4 class 5 1 1" in text, "neither the same group nor another"
    assert "All 13 classes" in text and "by group" not in text and "F1-mean" not in text
    assert [row.group for row in class_rows(torch.eye(13, dtype=torch.int64), manifest)] == [""] * 13


def test_nothing_lies_outside_the_page(evaluation: Evaluation, tmp_path: Path):
    text = write_report(evaluation, tmp_path / "report.html").read_text()
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", text)
    assert len(links) > 8 and all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in text and "url(" not in re.sub(r"data:[^\"]*", "", text)


def test_curves_come_from_the_log_beside_the_checkpoint(evaluation: Evaluation, tmp_path: Path):
    path = tmp_path / "my_run" / "report.html"
    assert "Curves" not in words(write_report(evaluation, path))
    lines = [{"part": "train", "epoch": 1, "step": step, "loss": 3.0} for step in (1, 2)]
    (tmp_path / "my_run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "Curves Loss at the end: loss 3" in words(write_report(evaluation, path))


def test_hidden_labels_count_nowhere(evaluation: Evaluation, tmp_path: Path):
    labels = evaluation.predictions.labels.clone()
    labels[0], labels[6] = -1, -1
    path = tmp_path / "report.html"
    some = replace(evaluation, predictions=replace(evaluation.predictions, labels=labels))
    text = words(write_report(some, path))
    assert "Top-1 80.00 %" in text and "5 clips of synthetic, each counted once; 2 more have a hidden label" in text
    path.unlink()
    none = replace(evaluation, predictions=replace(evaluation.predictions, labels=labels.fill_(-1)))
    with pytest.raises(ValueError, match="every label of val is hidden; use epam-model predict"):
        write_report(none, path)
    assert not path.exists()


def test_clips_that_could_not_be_read_are_counted(evaluation: Evaluation, tmp_path: Path):
    some = evaluation.predictions
    fewer = Predictions(
        keys=some.keys[2:], labels=some.labels[2:], logits={name: table[2:] for name, table in some.logits.items()}
    )
    text = words(write_report(replace(evaluation, predictions=fewer), tmp_path / "report.html"))
    assert "5 clips of synthetic, each counted once; 2 could not be read." in text
    assert "could not be read" not in words(write_report(evaluation, tmp_path / "report.html"))


def test_one_stream_and_no_mistake(evaluation: Evaluation, tmp_path: Path):
    predictions = Predictions(
        keys=evaluation.predictions.keys, labels=torch.tensor(LABELS), logits={"pose": torch.eye(6)[LABELS]}
    )
    text = words(write_report(replace(evaluation, predictions=predictions), tmp_path / "report.html"))
    assert "Top-1 100.00 % on val" in text and "scores: pose" in text and text.count("None: every clip is right.") == 2


def test_rows_of_classes(evaluation: Evaluation):
    matrix = confusion_matrix(evaluation.predictions.logits["rgb"], torch.tensor(LABELS))
    rows = {row.label: row for row in class_rows(matrix, evaluation.manifest)}
    names = evaluation.manifest.classes
    assert (rows[0].clips, rows[0].recall, rows[0].precision, rows[0].taken_for) == (2, 0.5, 1.0, f"{names[1]} (1)")
    assert (rows[4].recall, rows[4].precision, rows[4].f1) == (0.0, None, 0.0)
    assert (rows[5].recall, rows[5].precision, rows[5].f1, rows[5].taken_for) == (1.0, 0.5, pytest.approx(2 / 3), "")
    matrix[2, 2] = 0
    row = next(row for row in class_rows(matrix, evaluation.manifest) if row.label == 2)
    assert (row.clips, row.precision, row.f1) == (0, None, None)


def test_mistakes_are_known_and_wrong(evaluation: Evaluation):
    assert confident_mistakes(evaluation.predictions) == [6, 4]
    hidden = torch.tensor([*LABELS[:6], -1])
    assert confident_mistakes(replace(evaluation.predictions, labels=hidden)) == [4]
