import json
from pathlib import Path

import pytest

from epam_model.cli import main
from epam_model.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(
        "prepare: {rgb_size_px: 32, heatmap_size_px: 8}\n"
        "stream: {batch_size: 4, rgb_frames: 2, pose_frames: 4, workers: 0}\n"
        "train: {epochs: 1, warmup_epochs: 0.5, log_steps: 1, device: cpu, num_threads: 1}\n"
    )
    return path


def folds(recipe: Path, shards: Path, view: Path, out: Path, *more: str) -> list[str]:
    words = ["--shards", shards, "--stream.view", view, "--out", out, "--report", "false", *more]
    return ["folds", str(recipe), *map(str, words)]


def test_each_fold_is_trained_and_the_mean_is_over_groups(recipe: Path, shards: Path, tmp_path: Path, capsys) -> None:
    view = tmp_path / "view.yaml"
    view.write_text("folds: 2 by label\n")
    assert main(folds(recipe, shards, view, tmp_path / "run")) == 0
    said = capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "folds.json").read_text())
    best = [load_checkpoint(tmp_path / "run" / f"fold_{fold}" / "best.pt") for fold in (0, 1)]
    assert {each.shards["view_sha256"] for each in best} and best[0].shards != best[1].shards
    fused = result["fused"]
    assert fused["folds"] == pytest.approx([each.measures["top1_fused"] for each in best])
    assert fused["num_groups"] == 6 and 0 <= fused["low"] <= fused["top1"] <= fused["high"] <= 1
    assert f"top1_fused: {fused['top1']:.4f}, mean over 6 x label, 95 % interval {fused['low']:.4f} to" in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("fold_*/step*.pt")}
    assert main(folds(recipe, shards, view, tmp_path / "run")) == 0, "finished folds stay as they are"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("fold_*/step*.pt")} == before


def test_a_view_without_folds_is_refused(recipe: Path, shards: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "view.yaml").write_text("fraction: 0.5\n")
    assert main(folds(recipe, shards, tmp_path / "view.yaml", tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert "stream.view must be a view with folds or leave_one_out, got " in said and "see docs/views.md" in said
