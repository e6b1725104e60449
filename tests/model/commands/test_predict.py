import csv
from dataclasses import replace
from pathlib import Path

import av
import pytest

from epam_data.build.build import build
from epam_data.samples.settings import PrepareSettings
from epam_model.cli import main
from tests.data.raw_data import ntu60_plan, ntu_name, write_ntu60
from tests.model.commands.untrained import RECIPE, save_untrained
from tests.model.tiny import CLASSES, write_shards

pytestmark = pytest.mark.usefixtures("one_thread")


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
        (["--video", "v"], "--video and --skeleton need each other"),
        (["--shards", "s", "--out", "p.csv", "--skeleton", "k"], "--video and --skeleton need each other"),
        (["--shards", "s", "--out", "p.csv", "--overlay", "o.mp4"], "--overlay needs --video"),
        (
            ["--video", "v", "--skeleton", "k", "--dataset", ""],
            "dataset must be one of ma52, ntu60, synthetic, or module:NAME of a reader of your own, got ''",
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
