import csv
import io
import zipfile
from pathlib import Path

import pytest
import torch

from epam_data.taxonomy import TAXONOMIES
from epam_model.evaluate.metrics import measure
from epam_model.evaluate.predict import Predictions
from epam_model.evaluate.submission import group_scores, write_submission

MA52 = TAXONOMIES["ma52"]
HEADER = (
    "vid,action_pred_1,action_pred_2,action_pred_3,action_pred_4,action_pred_5,"
    "body_pred_1,body_pred_2,body_pred_3,body_pred_4,body_pred_5"
)


def drawn(num: int = 30) -> Predictions:
    """Predictions of the test split: its labels are hidden."""
    generator = torch.Generator().manual_seed(1)
    logits = {name: 3 * torch.randn(num, 52, generator=generator) for name in ("rgb", "pose")}
    keys = [f"0001_01_{number:04d}" for number in range(num)]
    return Predictions(keys=keys, labels=torch.full((num,), -1), logits=logits)


def test_a_csv_of_actions_and_groups(tmp_path: Path):
    predictions = drawn()
    write_submission(tmp_path / "s.csv", predictions, MA52.coarse_of)
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == HEADER and len(lines) == 31
    fused = sum(table.double().softmax(1) for table in predictions.logits.values())
    for line, key, scores in zip(lines[1:], predictions.keys, fused, strict=True):
        vid, *labels = line.split(",")
        actions, groups = list(map(int, labels[:5])), list(map(int, labels[5:]))
        order = scores.sort(descending=True).indices.tolist()
        assert vid == key and actions == order[:5]
        # Groups in the order in which their first action comes.
        assert groups == list(dict.fromkeys(MA52.coarse_of[label] for label in order))[:5]


def test_the_server_scores_what_we_measure(tmp_path: Path):
    """With known labels: right first columns are the micro F1 scores of `measure`."""
    predictions = drawn()
    labels = torch.randint(52, (30,), generator=torch.Generator().manual_seed(2))
    labels[:9] = predictions.logits["pose"].argmax(1)[:9]
    write_submission(tmp_path / "s.csv", predictions, MA52.coarse_of, "pose")
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    measures = measure({"pose": predictions.logits["pose"]}, labels, MA52.coarse_of)
    right = [int(row["action_pred_1"]) == label for row, label in zip(rows, labels.tolist(), strict=True)]
    groups = [int(row["body_pred_1"]) == MA52.coarse_of[k] for row, k in zip(rows, labels.tolist(), strict=True)]
    assert 0.3 <= measures["f1_micro_fine_pose"] == sum(right) / 30
    assert measures["f1_micro_coarse_pose"] == sum(groups) / 30


def test_the_zip_holds_the_csv_alone_and_is_the_same_each_time(tmp_path: Path):
    for name in ("s.csv", "a.zip", "b.zip"):
        write_submission(tmp_path / name, drawn(), MA52.coarse_of)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["prediction.csv"]
        assert io.TextIOWrapper(archive.open("prediction.csv")).read() == (tmp_path / "s.csv").read_text()
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_group_is_as_probable_as_its_best_class():
    scores = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.3, 0.3, 0.4, 0.0]])
    torch.testing.assert_close(group_scores(scores, (0, 1, 0, 1)), torch.tensor([[0.2, 0.4], [0.4, 0.3]]))


def test_errors(tmp_path: Path):
    with pytest.raises(ValueError, match=r"s\.txt: a submission must be a \.csv or \.zip file"):
        write_submission(tmp_path / "s.txt", drawn(), MA52.coarse_of)
    for coarse_of, counts in (([label % 3 for label in range(52)], "52 and 3"), ((), "52 and 0")):
        with pytest.raises(ValueError, match=f"needs at least 5 actions and groups, got {counts}$"):
            write_submission(tmp_path / "s.csv", drawn(), coarse_of)
