import json
from pathlib import Path

import pytest
import torch

from epam_model.cli import main
from epam_model.train.trainer import Trainer
from epam_model.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
prepare: {rgb_size_px: 32, heatmap_size_px: 8}
stream: {batch_size: 7, rgb_frames: 2, pose_frames: 4, workers: 0}
model: {streams: both}
train: {epochs: 1, warmup_epochs: 0.5, log_steps: 1, device: cpu, num_threads: 1}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def run(recipe: Path, shards: Path, one_thread: None) -> Path:
    """A finished training run of the command line."""
    out = recipe.parent / "run"
    assert main(["train", str(recipe), "--shards", str(shards), "--out", str(out)]) == 0
    return out


def test_train_leaves_checkpoints_and_logs(run: Path):
    names = {path.name for path in run.iterdir()}
    kept = {"step_00000002.pt", "last.pt", "latest", "best_top1_fused_epoch_1.pt", "best.pt"}
    assert names == kept | {"train.log", "metrics.jsonl", "tensorboard", "report.html"}
    assert load_checkpoint(run / "last.pt").recipe["train"]["epochs"] == 1


def test_the_run_is_named_after_the_recipe(recipe: Path, shards: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["train", str(recipe), "--shards", str(shards), "--model.streams", "pose", "--report", "false"]
    assert main(argv) == 0
    assert (tmp_path / "work_dirs" / "tiny" / "best.pt").is_file()
    assert main([*argv, "--resume"]) == 0
    assert main([*argv, "--resume", "--train.epochs", "2"]) == 0
    assert load_checkpoint(tmp_path / "work_dirs" / "tiny" / "last.pt").epoch == 2


def test_shards_by_url_train_the_same(run: Path, recipe: Path, shards: Path, tmp_path: Path):
    """Through a cache, and by ranges of bytes."""
    argv = ["--shards", f"file://{shards}", "--stream.cache_dir", str(tmp_path / "cache")]
    assert main(["train", str(recipe), *argv, "--out", str(tmp_path / "run")]) == 0
    assert len(list((tmp_path / "cache").glob("*.cached"))) > 0 and (tmp_path / "run" / "report.html").is_file()
    expected, found = (load_checkpoint(folder / "last.pt").weights for folder in (run, tmp_path / "run"))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    test = ["test", str(recipe), "--shards", f"file://{shards}", "--checkpoint", str(run / "best.pt")]
    assert main([*test, "--json", str(tmp_path / "m.json")]) == 0
    assert json.loads((tmp_path / "m.json").read_text()) == load_checkpoint(run / "best.pt").measures


def test_test_repeats_the_measures_of_training(run: Path, recipe: Path, shards: Path, tmp_path: Path, capsys):
    argv = ["test", str(recipe), "--shards", str(shards), "--checkpoint", str(run / "best.pt"), "--device", "cpu"]
    assert main([*argv, "--json", str(tmp_path / "m.json")]) == 0
    measures = json.loads((tmp_path / "m.json").read_text())
    assert measures == load_checkpoint(run / "best.pt").measures
    assert f"top1_fused: {measures['top1_fused']:.4f}" in capsys.readouterr().out
    assert main([*argv, "--split", "test"]) == 2
    assert "every label of test is hidden; use epam-model predict" in capsys.readouterr().err


def test_profile_counts_the_published_numbers(recipe: Path, capsys):
    argv = ["--stream.rgb_frames", "16", "--stream.pose_frames", "48", "--batch_sizes", "[2]", "--device", "cpu"]
    argv += ["--variants", "[fp32]"]
    assert main(["profile", str(recipe), *argv]) == 0
    table = capsys.readouterr().out
    numbers = {line.split()[0]: line.split()[1] for line in table.splitlines() if line}
    assert numbers["backbone.rgb_backbone"] == "1,980,030"
    assert numbers["backbone.pose_backbone"] == "519,580"
    assert numbers["backbone.attention"] == "107"
    assert numbers["head"] == "39,000"  # (432 + 1) * 60 + (216 + 1) * 60
    assert numbers["total"] == "2,538,717"
    assert "\non cpu " in table


def test_unusable_input_is_one_line_and_exit_code_2(recipe: Path, shards: Path, run: Path, tmp_path: Path, capsys):
    for argv, message in (
        (["train", str(recipe), "--shards", str(tmp_path)], "no manifest.json found"),
        (["train", str(recipe), "--shards", str(shards), "--out", str(run)], "already contains a run"),
        (["train", str(recipe), "--shards", str(shards), "--train.lr", "x"], "train.lr must be float, got 'x'"),
        (["train", str(recipe), "--shards", str(shards), "--out", str(tmp_path), "--resume"], "no such checkpoint"),
        (["test", str(recipe), "--shards", str(shards), "--checkpoint", str(recipe)], "not a checkpoint but text"),
        (
            ["test", str(recipe), "--shards", str(shards), "--checkpoint", f"{run}/last.pt", "--model.streams", "rgb"],
            "its model.streams is both, the recipe has rgb",
        ),
    ):
        assert main(argv) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1


def test_failing_work_is_exit_code_1(recipe: Path, shards: Path, tmp_path: Path, capsys):
    argv = ["train", str(recipe), "--shards", str(shards), "--out", str(tmp_path / "run")]
    assert main([*argv, "--train.loss.rgb", "1e38", "--train.loss.pose", "3e38"]) == 1
    error = capsys.readouterr().err
    assert "loss inf" in error and "its clips are listed in" in error and len(error.splitlines()) == 1


def test_ctrl_c_says_how_to_go_on(recipe: Path, shards: Path, tmp_path: Path, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", interrupted)
    out = tmp_path / "run"
    command = ["train", str(recipe), "--shards", str(shards), "--out", str(out)]
    assert main(command) == 130
    error = capsys.readouterr().err
    assert error.endswith(f"there is no checkpoint yet, start again with: epam-model {' '.join(command)}\n")
    out.mkdir()
    (out / "step_00000001.pt").touch()
    for argv in (command, [*command, "--resume"], [*command, "--auto_resume"]):
        assert main(argv) == 130
        error = capsys.readouterr().err
        assert error.endswith(f"continue from the last checkpoint with: epam-model {' '.join(command)} --resume\n")
