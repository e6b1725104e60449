import csv
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import av
import pytest

from epam_data.build.build import build
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.manifest import load_manifest
from epam_model.build import build_for
from epam_model.cli import main
from epam_model.commands.evaluate import best_checkpoint, measure_lines
from epam_model.networks.settings import ModelSettings
from epam_model.train.settings import TrainSettings
from epam_model.weights.checkpoint import Checkpoint, save_checkpoint, shards_identity
from tests.data.raw_data import ntu60_plan, ntu_name, write_ntu60
from tests.model.tiny import CLASSES, STREAM, write_shards

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
stream: {batch_size: 4, rgb_frames: 2, pose_frames: 4, workers: 0}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def save_untrained(path: Path, shards: Path) -> Path:
    """A checkpoint of EPAM-Net with random weights."""
    settings, manifest = ModelSettings(), load_manifest(shards)
    recipe = {"stream": asdict(STREAM), "model": asdict(settings), "train": asdict(TrainSettings())}
    checkpoint = Checkpoint(
        weights=build_for(settings, manifest).state_dict(),
        optimizer={},
        epoch=1,
        consumed=0,
        shards=shards_identity(manifest),
        recipe=recipe,
    )
    save_checkpoint(path, checkpoint)
    return path


@pytest.fixture(scope="module")
def checkpoint(recipe: Path, shards: Path) -> Path:
    return save_untrained(recipe.parent / "best.pt", shards)


@pytest.fixture(scope="module")
def given(recipe: Path, shards: Path, checkpoint: Path) -> list[str]:
    """What every call gives."""
    return [str(recipe), "--shards", str(shards), "--checkpoint", str(checkpoint), "--device", "cpu"]


def test_predict_writes_hidden_and_known_labels(given: list[str], tmp_path: Path):
    out = tmp_path / "p.csv"
    argv = ["predict", *given, "--out", str(out)]
    assert main(argv) == 0
    rows = list(csv.DictReader(out.open()))
    assert [row["key"] for row in rows] == [f"test-{number}" for number in range(5)]
    assert all(row["label"] == "" and row["class_5"] in CLASSES.classes for row in rows)
    probabilities = [float(rows[0][f"probability_{place}"]) for place in range(1, 6)]
    assert probabilities == sorted(probabilities, reverse=True) and 0.5 < sum(probabilities) <= 1
    assert main([*argv, "--split", "val"]) == 0
    assert [row["label"] for row in csv.DictReader(out.open())][:6] == list(CLASSES.classes)


def test_the_fusion_that_decides_can_be_chosen(given: list[str], tmp_path: Path, capsys):
    tables = {}
    for scores in ("fused", "rgb", "pose", "logit_sum"):
        out = tmp_path / f"{scores}.csv"
        assert main(["predict", *given, "--split", "val", "--scores", scores, "--out", str(out)]) == 0
        tables[scores] = out.read_text()
    assert len(set(tables.values())) == 4
    assert main(["predict", *given, "--scores", "both", "--out", str(out)]) == 2
    assert (
        "scores must be one of fused, rgb, pose, fused_2_1, fused_1_2, logit_sum, got 'both'" in capsys.readouterr().err
    )
    assert main(["predict", *given]) == 2
    assert "predict needs --out, --submission, or both" in capsys.readouterr().err


def test_a_test_can_leave_a_page(given: list[str], tmp_path: Path, capsys):
    assert main(["test", *given, "--report", str(tmp_path / "page")]) == 0
    page = tmp_path / "page" / "report.html"
    assert f"report: {page}" in capsys.readouterr().out
    assert "7 clips of synthetic" in page.read_text()
    for scores in ("fused", "rgb", "pose", "fused_2_1", "fused_1_2", "logit_sum"):
        header, *rows = csv.reader((tmp_path / "page" / f"confusion_{scores}.csv").open())
        assert header[1:] == [row[0] for row in rows] == list(CLASSES.classes)
        assert [sum(map(int, row[1:])) for row in rows] == [2, 1, 1, 1, 1, 1]


def test_report_tests_the_best_checkpoint_again(shards: Path, tmp_path: Path, capsys):
    assert main(["report", str(tmp_path), "--shards", str(shards)]) == 2
    assert "holds no best checkpoint" in capsys.readouterr().err
    save_untrained(tmp_path / "best_top1_fused_epoch_1.pt", shards)
    save_untrained(tmp_path / "best_top1_fused_epoch_3.pt", shards)
    for older, newer in ((3, 1), (1, 3)):
        os.utime(tmp_path / f"best_top1_fused_epoch_{older}.pt", (0, 0))
        os.utime(tmp_path / f"best_top1_fused_epoch_{newer}.pt", (1, 1))
        assert best_checkpoint(tmp_path).name == f"best_top1_fused_epoch_{newer}.pt"
    (tmp_path / "best.pt").symlink_to("best_top1_fused_epoch_3.pt")
    assert main(["report", str(tmp_path), "--shards", str(shards), "--device", "cpu"]) == 0
    assert "best_top1_fused_epoch_3.pt, after epoch 1" in (tmp_path / "report.html").read_text()
    assert main(["report", str(tmp_path), "--shards", str(shards), "--split", "test"]) == 2
    assert "every label of test is hidden" in capsys.readouterr().err


def test_a_submission_of_the_hidden_test_split(recipe: Path, tmp_path: Path):
    shards = write_shards(tmp_path / "ma52", taxonomy="ma52", skeleton="ma52_28", train=1, val=1)
    checkpoint = save_untrained(tmp_path / "ma52.pt", shards)
    out = tmp_path / "s.csv"
    argv = ["predict", str(recipe), "--shards", str(shards), "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main([*argv, "--submission", str(out)]) == 0
    rows = list(csv.DictReader(out.open()))
    assert [row["vid"] for row in rows] == [f"test-{number}" for number in range(5)]
    assert all(0 <= int(row["action_pred_5"]) < 52 and 0 <= int(row["body_pred_5"]) < 7 for row in rows)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, Path]:
    """A recipe and a checkpoint, and raw recordings and their shards."""
    folder = tmp_path_factory.mktemp("recorded")
    recipe = folder / "ntu60.yaml"
    recipe.write_text("dataset: ntu60\nprepare: {rgb_size_px: 32, heatmap_size_px: 8}\n" + RECIPE)
    raw = write_ntu60(folder / "raw", num_train=1, num_val=2)
    plan = replace(ntu60_plan(raw, folder / "shards"), prepare=PrepareSettings(rgb_size_px=32, heatmap_size_px=8))
    build(plan)
    checkpoint = save_untrained(folder / "best.pt", folder / "shards")
    return [str(recipe), "--checkpoint", str(checkpoint), "--device", "cpu"], raw, folder / "shards"


def test_one_video_is_predicted_as_from_shards(recorded, tmp_path: Path, capsys):
    given, raw, shards = recorded
    name = ntu_name(2, 3)
    one, all_clips, film = tmp_path / "one.csv", tmp_path / "all.csv", tmp_path / "film.mp4"
    argv = ["--video", str(raw / "videos" / f"{name}_rgb.avi"), "--skeleton", str(raw / "skeletons.pkl")]
    assert main(["predict", *given, *argv, "--out", str(one), "--overlay", str(film)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert main(["predict", *given, "--shards", str(shards), "--split", "val", "--out", str(all_clips)]) == 0
    row = next(csv.DictReader(one.open()))
    expected = next(row for row in csv.DictReader(all_clips.open()) if row["key"] == name)
    assert row == {**expected, "label": ""}, "its label is not looked at"
    assert said[0] == name
    for place, line in enumerate(said[1:6], start=1):
        assert line.split("%  ")[1] == row[f"class_{place}"]
        assert float(line.split("%")[0]) / 100 == pytest.approx(float(row[f"probability_{place}"]), abs=1e-4)
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "p.csv"], "predict needs either --shards or --video"),
        (["--shards", "s", "--video", "v"], "predict needs either --shards or --video"),
        (["--video", "v"], "--video and --skeleton go together"),
        (["--shards", "s", "--out", "p.csv", "--skeleton", "k"], "--video and --skeleton go together"),
        (["--shards", "s", "--out", "p.csv", "--overlay", "o.mp4"], "--overlay needs --video"),
        (
            ["--video", "v", "--skeleton", "k", "--dataset", ""],
            "dataset must be one of ntu60, ma52, synthetic, or module:NAME of a reader of your own, got ''",
        ),
        (["--video", "v", "--skeleton", "k"], "v: no such video"),
    ],
)
def test_what_does_not_go_together_is_one_line(recorded, options: list[str], message: str, capsys):
    assert main(["predict", *recorded[0], *options]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_clips_and_mirror_images_at_test_time_change_the_scores(given: list[str], tmp_path: Path):
    """Two calls with the same keys agree to the last digit; each key changes the predictions."""
    seen = set()
    for number, options in enumerate(([], ["--stream.num_clips", "3"], ["--stream.eval_flip"])):
        out = [tmp_path / f"{number}{again}.csv" for again in "ab"]
        for path in out:
            assert main(["predict", *given, "--split", "val", "--out", str(path), *options]) == 0
        assert out[0].read_text() == out[1].read_text()
        seen.add(out[0].read_text())
    assert len(seen) == 3


def test_test_prints_a_line_for_each_stream_and_fusion(given: list[str], tmp_path: Path, capsys):
    assert main(["test", *given, "--json", str(tmp_path / "m.json")]) == 0
    measures = json.loads((tmp_path / "m.json").read_text())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and sum(line.count(": ") for line in lines) == len(measures) == 48
    for name, value in measures.items():
        assert any(f"{name}: {value:.4f}" in line.split("  ") for line in lines)


def test_measures_are_put_on_lines_by_their_scores():
    measures = {"top1_fused": 0.5, "top1_fused_2_1": 0.25, "f1_mean_fused": 1.0}
    assert measure_lines(measures) == "top1_fused: 0.5000  f1_mean_fused: 1.0000\ntop1_fused_2_1: 0.2500"
