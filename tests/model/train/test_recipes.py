"""The recipes of the repository, run: two training steps and an evaluation each, on small synthetic shards."""

import json
from pathlib import Path

import pytest
import torch

from epam_data.recipe import ConfigError, parse_command
from epam_model.cli import main
from epam_model.commands.train import TrainCommand
from epam_model.train import run_folder
from epam_model.weights.checkpoint import load_checkpoint
from tests.model.tiny import write_shards
from tests.paths import PIPELINES

SMALL = ["--stream.batch_size", "2", "--stream.workers", "0", "--train.epochs", "1", "--train.warmup_epochs", "0"]
SMALL += ["--train.device", "cpu", "--train.num_threads", "1", "--train.log_steps", "1", "--report", "false"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def shards_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four training and two evaluation clips with the classes and joints of each data set."""
    root = tmp_path_factory.mktemp("recipes")
    sizes = {"train": 4, "val": 2, "test": 0}
    return {
        "ntu60": write_shards(root / "ntu60", taxonomy="ntu60", **sizes),
        "ma52": write_shards(root / "ma52", taxonomy="ma52", skeleton="ma52_28", **sizes),
    }


def run(recipe: str, shards: Path, out: Path, *options: str) -> int:
    return main(
        ["train", str(PIPELINES / f"{recipe}.yaml"), "--shards", str(shards), "--out", str(out), *SMALL, *options]
    )


PCAN_TERMS = {
    f"loss_{stream}{term}"
    for stream in ("rgb", "pose")
    for term in ("", "_coarse", "_coarse_prototype", "_fine_prototype", "_diversity", "_tree")
}


@pytest.mark.parametrize(
    ("recipe", "terms"),
    [
        ("ma52_rgbpose", PCAN_TERMS),
        ("ntu60_rgbpose", PCAN_TERMS),
        ("ntu60_epam_pcan", PCAN_TERMS),
        ("ma52_rgbpose_rgb", {"loss_rgb"}),
        ("ntu60_rgbpose_pose", {"loss_pose"}),
        ("ntu60_epam_rgb", {"loss_rgb"}),
        ("ntu60_epam_pose", {"loss_pose"}),
        ("ntu60_epam_together", {"loss_rgb", "loss_pose"}),
        ("ntu60_epam_baseline", {"loss_rgb", "loss_pose"}),
    ],
)
def test_two_steps_and_an_evaluation(recipe, terms, shards_of, tmp_path, monkeypatch):
    if "rgbpose" in recipe:  # checkpoints of 300 MB would take longer than the steps
        monkeypatch.setattr(run_folder, "save_checkpoint", lambda path, _: path.touch())
    assert run(recipe, shards_of[recipe.partition("_")[0]], tmp_path / "run") == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines] == ["train", "train", "val"]
    for line in lines[:2]:
        assert {name for name in line if name.startswith("loss_")} == terms
        assert 0 < line["loss"] < 100 and line["grad_norm"] > 0
    streams = {name.split("_")[1] for name in terms}
    assert {f"top1_{stream}" for stream in streams} <= lines[2].keys()


def test_prototypes_are_saved_and_read_again(shards_of, tmp_path):
    recipe, shards = "ntu60_epam_pcan", shards_of["ntu60"]
    sized = ["--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
    assert run(recipe, shards, tmp_path / "run", *sized) == 0
    first = load_checkpoint(tmp_path / "run" / "last.pt").weights
    banks = [name for name in first if name.endswith("prototypes")]
    assert len(banks) == 4
    assert run(recipe, shards, tmp_path / "run", *sized, "--resume", "--train.epochs", "2") == 0
    argv = ["--shards", str(shards), "--checkpoint", str(tmp_path / "run" / "last.pt"), "--device", "cpu", *SMALL[:4]]
    assert main(["test", str(PIPELINES / f"{recipe}.yaml"), *argv, *sized]) == 0


def test_fine_tuning_leaves_the_streams_alone(shards_of, tmp_path):
    sized = ["--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
    assert run("ntu60_epam_together", shards_of["ntu60"], tmp_path / "first", *sized) == 0
    best = str(tmp_path / "first" / "best.pt")
    start = ["--model.init_from", f"[{best}]"]
    assert run("ntu60_epam_finetune", shards_of["ntu60"], tmp_path / "second", *sized, *start) == 0
    before, after = (load_checkpoint(tmp_path / name / "best.pt").weights for name in ("first", "second"))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {"head.rgb.fc.weight", "head.pose.fc.weight"} <= changed
    assert all(name.startswith(("head.", "backbone.attention.")) for name in changed), "statistics stay as well"


def test_streams_of_their_own_runs_start_the_pair(shards_of, tmp_path, capsys):
    sized = ["--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
    files = []
    for stream in ("rgb", "pose"):
        assert run(f"ntu60_epam_{stream}", shards_of["ntu60"], tmp_path / stream, *sized) == 0
        files.append(str(tmp_path / stream / "best.pt"))
    capsys.readouterr()
    options = [*sized, "--model.init_from", f"[{', '.join(files)}]"]
    assert run("ntu60_epam_together", shards_of["ntu60"], tmp_path / "pair", *options) == 0
    text = capsys.readouterr().out
    assert "rgb/best.pt: epam rgb recogniser: " in text and "pose/best.pt: epam pose recogniser: " in text
    assert text.count("NOT LOADED") == 1 and "no file of model.init_from has backbone.attention; they" in text


@pytest.mark.parametrize(
    ("recipe", "data", "options", "message"),
    [
        (
            "ntu60_rgbpose",
            "ntu60",
            ("--stream.rgb_frames", "16", "--stream.pose_frames", "48"),
            "RGBPoseConv3D takes 4 pose frames per rgb frame, got 48 and 16",
        ),
        (
            "ntu60_xsub",
            "ntu60",
            ("--model.attention_type", "spatial_temporal", "--stream.rgb_frames", "8"),
            "spatial_temporal attention needs clips of 16 frames, got 8",
        ),
        (
            "ntu60_xsub",
            "ntu60",
            ("--stream.pose_frames", "40", "--stream.sampling", "independent"),
            "pose frames must be a multiple of the 16 rgb frames, got 40",
        ),
        ("ntu60_epam_pcan", "ntu60", ("--model.init_from", "[absent.pt]"), "absent.pt: no such checkpoint"),
    ],
)
def test_what_does_not_fit_is_one_line_before_the_first_step(
    recipe, data, options, message, shards_of, tmp_path, capsys
):
    assert run(recipe, shards_of[data], tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def change_manifest(shards: Path, root: Path, **changes: object) -> Path:
    """The same shards with another manifest."""
    root.mkdir()
    for path in shards.iterdir():
        (root / path.name).symlink_to(path)
    manifest = json.loads((shards / "manifest.json").read_text())
    (root / "manifest.json").unlink()
    (root / "manifest.json").write_text(json.dumps(manifest | changes))
    return root


def test_joints_classes_and_groups_of_other_data_are_one_line(shards_of, tmp_path, capsys):
    sized = ["--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
    assert run("ntu60_epam_pcan", shards_of["ntu60"], tmp_path / "run", *sized) == 0
    best = str(tmp_path / "run" / "best.pt")
    # Weights for 17 joints, where the shards have 28.
    assert run("ntu60_epam_pcan", shards_of["ma52"], tmp_path / "other", *sized, "--model.init_from", f"[{best}]") == 2
    assert "stem.conv.weight must be (24, 28, 1, 3, 3), got (24, 17, 1, 3, 3)" in capsys.readouterr().err
    test = ["test", str(PIPELINES / "ntu60_epam_pcan.yaml"), "--checkpoint", best, *SMALL[:4], *sized]
    assert main([*test, "--shards", str(shards_of["ma52"])]) == 2
    error = capsys.readouterr().err
    assert "it has 60 classes, the shards have 52; its skeleton is coco17, the shards have ma52_28" in error
    coarse_of = [min(group, 5) for group in json.loads((shards_of["ntu60"] / "manifest.json").read_text())["coarse_of"]]
    for changes, message in (
        ({"coarse_of": coarse_of}, "the model has 8 coarse groups, the classes of the shards have the groups [0, 1, 2"),
        ({"coarse_of": coarse_of[:-1]}, "60 classes need a group each, 59 have one"),
    ):
        shards = change_manifest(shards_of["ntu60"], tmp_path / f"shards{len(changes['coarse_of'])}", **changes)
        assert run("ntu60_epam_pcan", shards, tmp_path / "third", *sized) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1


def test_loss_factors_of_the_recipe_reach_the_loss(shards_of, tmp_path):
    options = ["--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
    zero = {"rgb_coarse": "0", "pose_coarse": "0", "coarse_prototype": "0", "fine_prototype": "0", "diversity": "0"}
    options += [word for name, value in zero.items() for word in (f"--train.loss.{name}", value)]
    assert run("ntu60_epam_pcan", shards_of["ntu60"], tmp_path / "run", *options) == 0
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    silent = {name for name in PCAN_TERMS if line[name] == 0}
    assert silent == {name for name in PCAN_TERMS if not name.endswith(("loss_rgb", "loss_pose", "tree"))}
    with pytest.raises(ConfigError, match=r"unknown key 'train\.loss\.forest'"):
        parse_command(TrainCommand, "train", ["--shards", "s", "--train.loss.forest", "1"])
