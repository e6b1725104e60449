"""The whole way through the command line, as a user takes it: videos -> shards -> check -> training -> measures."""

import json
from pathlib import Path

import pytest

from epam_data.cli import main as epam_data
from epam_model.cli import main as epam_model

RECIPE = """\
dataset: synthetic
raw: {{videos: {raw}/videos, skeletons: {raw}/synthetic.pkl, protocol: xsub}}
synth: {{train_clips: 6, val_clips: 6, height_px: 96, width_px: 128, min_frames: 24, max_frames: 30}}
prepare: {{rgb_size_px: 32, heatmap_size_px: 8}}
shard: {{samples_per_shard: 4}}
stream: {{batch_size: 3, rgb_frames: 4, pose_frames: 12, workers: 0}}
train: {{epochs: 1, lr: 0.01, warmup_epochs: 0.5, device: cpu}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("end_to_end")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(raw=folder / "raw"))
    return path


def test_raw_recordings_to_measures(recipe: Path, capsys):
    raw, shards, run = (str(recipe.parent / name) for name in ("raw", "shards", "run"))
    assert epam_data(["synth", str(recipe), "--out", raw, "--workers", "0"]) == 0
    assert epam_data(["build", str(recipe), "--out", shards, "--workers", "2"]) == 0
    assert epam_data(["check", shards, "--workers", "0", "--sample", "all", "--rgb"]) == 0
    assert "0 problems in 12 clips; 12 in depth" in capsys.readouterr().out
    assert epam_model(["train", str(recipe), "--shards", shards, "--out", run]) == 0
    measures = recipe.parent / "measures.json"
    arguments = ["--shards", shards, "--checkpoint", f"{run}/best.pt"]
    assert epam_model(["test", str(recipe), *arguments, "--json", str(measures)]) == 0
    assert {"top1_rgb", "top1_pose", "top1_fused", "top1_logit_sum"} <= json.loads(measures.read_text()).keys()
    table = recipe.parent / "predictions.csv"
    assert epam_model(["predict", str(recipe), *arguments, "--split", "val", "--out", str(table)]) == 0
    assert len(table.read_text().splitlines()) == 7


def test_every_recipe_of_the_repository_is_valid():
    """Each command reads each recipe; only values that the command line must give are absent."""
    from epam_data.commands.build import BuildCommand
    from epam_data.recipe import parse_command
    from epam_model.commands.train import TrainCommand

    recipes = sorted((Path(__file__).parents[1] / "pipelines").glob("*.yaml"))
    assert recipes
    for path in recipes:
        given = ("--raw.videos", "v", "--raw.skeletons", "s", "--out", "o")
        assert parse_command(BuildCommand, "build", [str(path), *given]).dataset
        assert parse_command(TrainCommand, "train", [str(path), "--shards", "s"]).stream.batch_size > 0
