import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epam_data.shards.manifest import load_manifest
from epam_model.build import build_model
from epam_model.cli import main
from epam_model.networks.settings import ModelSettings
from epam_model.networks.table import NETWORKS
from epam_model.train.resume import check_can_resume
from epam_model.weights.checkpoint import load_checkpoint
from epam_model.weights.convert import to_published
from epam_model.weights.epam_names import EPAM
from epam_model.weights.safetensors_file import read_safetensors
from tests.model.tiny import write_shards
from tests.paths import PIPELINES

RECIPE = str(PIPELINES / "ntu60_epam_pcan.yaml")
CLIPS = ["--stream.batch_size", "2", "--stream.workers", "0", "--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
pytestmark = pytest.mark.usefixtures("one_thread")


def save(path: Path, **wrapped: object) -> Path:
    torch.save(wrapped, path)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser of recipe size under MMAction2's names."""
    model = build_model(ModelSettings(head="pcan"), num_classes=60, num_joints=17, num_coarse_classes=8)
    state = to_published(model.state_dict(), EPAM, "both")
    return save(tmp_path_factory.mktemp("published") / "p.pth", state_dict=state)


def test_there_and_back_is_the_same_file(published: Path, tmp_path: Path, capsys):
    ours, back = tmp_path / "ours.pth", tmp_path / "back.pth"
    assert main(["convert", RECIPE, "--source", str(published), "--out", str(ours)]) == 0
    text = capsys.readouterr().out
    assert "MMAction2 epam" in text and "missing     0" in text and "1087 tensors in" in text
    assert main(["convert", RECIPE, "--source", str(ours), "--out", str(back), "--to", "published"]) == 0
    first, last = (torch.load(path, weights_only=True)["state_dict"] for path in (published, back))
    assert first.keys() == last.keys() and all(torch.equal(first[name], last[name]) for name in first)


@pytest.mark.parametrize("name", ["ours.pt", "ours.safetensors"])
def test_a_converted_file_serves_all_commands_but_a_resume(published: Path, name: str, tmp_path: Path, capsys):
    shards, ours = write_shards(tmp_path / "shards", taxonomy="ntu60", train=2, val=1, test=0), tmp_path / name
    assert main(["convert", RECIPE, "--source", str(published), "--out", str(ours), *CLIPS]) == 0
    given = ["--shards", str(shards), "--checkpoint", str(ours), "--split", "val", "--device", "cpu", *CLIPS]
    assert main(["test", RECIPE, *given, "--json", str(tmp_path / "m.json"), "--report", str(tmp_path)]) == 0
    assert "top1_fused" in (tmp_path / "m.json").read_text() and (tmp_path / "report.html").is_file()
    assert main(["predict", RECIPE, *given, "--out", str(tmp_path / "p.csv")]) == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 2
    assert main(["features", RECIPE, *given, "--out", str(tmp_path / "f.h5")]) == 0
    if name.endswith(".safetensors"):  # once: it takes longest
        small = ["--prepare.rgb_size_px", "32", "--prepare.heatmap_size_px", "8", *CLIPS]
        assert main(["export", RECIPE, "--checkpoint", str(ours), "--out", str(tmp_path / "m.pt2"), *small]) == 0
    capsys.readouterr()
    assert main(["test", RECIPE, *given, "--model.head", "linear"]) == 2
    assert "its model.head is pcan, the recipe has linear" in capsys.readouterr().err
    assert main(["test", RECIPE, *given, "--stream.pose_frames", "4"]) == 2
    assert "it was trained with stream.pose_frames 6, the recipe has 4" in capsys.readouterr().err
    checkpoint = load_checkpoint(ours)
    assert checkpoint.converted_from == "MMAction2 epam"
    with pytest.raises(
        ValueError, match=r"cannot resume, it has converted weights and no run; start from model\.init_"
    ):
        check_can_resume(checkpoint, "c", load_manifest(shards), {}, view_sha256="")


def test_safetensors_hold_the_recipe_and_start_a_run(published: Path, tmp_path: Path):
    out = tmp_path / "ours.safetensors"
    argv = ["convert", RECIPE, "--source", str(published), "--out", str(out)]
    assert main([*argv, "--to", "safetensors"]) == 0
    metadata = read_safetensors(out)[1]
    assert metadata["format"] == "pt" and json.loads(metadata["recipe"])["model"]["head"] == "pcan"
    assert json.loads(metadata["shards"])["classes"][0] == "drink water"
    told: list[str] = []
    settings = ModelSettings(head="pcan", init_from=[str(out)])
    model = build_model(settings, num_classes=60, num_joints=17, num_coarse_classes=8, tell=told.append)
    state = torch.load(published, weights_only=True)["state_dict"]
    loaded = to_published(model.state_dict(), EPAM, "both")
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert told == [f"{out}: epam checkpoint: 1087 tensors loaded"]
    assert main([*argv, "--to", "mmaction2"]) == 0  # the name of the file decides how it is written
    theirs, metadata = read_safetensors(out)
    assert theirs.keys() == state.keys() and metadata == {"format": "pt"}


def test_what_a_single_stream_leaves_out_is_said(published: Path, tmp_path: Path, capsys):
    argv = ["convert", RECIPE, "--source", str(published), "--out", str(tmp_path / "o.pt"), "--model.streams", "pose"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "NOT LOADED: 581 tensors of the file (backbone.rgb_backbone.conv1_s.conv.weight; " in text
    assert "506 tensors in" in text


def test_without_published_names_there_is_ours_alone(published: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, "epam", replace(NETWORKS["epam"], published=None))
    out = tmp_path / "o.pth"
    assert main(["convert", RECIPE, "--source", str(published), "--out", str(out), "--to", "published"]) == 2
    assert "network epam has no published names: it can only be written as ours" in capsys.readouterr().err
    assert not out.exists()


def test_a_conversion_that_does_not_fit_shows_the_table_and_fails(published: Path, tmp_path: Path, capsys):
    state = torch.load(published, weights_only=True)["state_dict"]
    del state["backbone.attention_module.spatial.bn.bias"]
    source = save(tmp_path / "part.pth", state_dict=state | {"extra": torch.zeros(1)})
    assert main(["convert", RECIPE, "--source", str(source), "--out", str(tmp_path / "o.pth")]) == 2
    captured = capsys.readouterr()
    assert "backbone.attention.spatial.norm.bias" in captured.out and "extra" in captured.out
    assert "2 names do not fit" in captured.err and len(captured.err.splitlines()) == 1
    assert not (tmp_path / "o.pth").exists()


def test_a_head_of_other_classes_is_not_converted(published: Path, tmp_path: Path, capsys):
    argv = ["convert", RECIPE, "--source", str(published), "--out", str(tmp_path / "o.pth"), "--dataset", "synthetic"]
    assert main(argv) == 2
    assert "head.rgb.fc.weight must be (6, 432), got (60, 432)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["convert", RECIPE, "--source", "s", "--out", "o", "--to", "theirs"], "to must be one of ours, published, mm"),
        (
            ["convert", RECIPE, "--source", "s", "--out", "o.pt", "--to", "safetensors"],
            "--out must end with .safetensors for --to safetensors, got o.pt",
        ),
        (["convert", RECIPE, "--source", "absent.pth", "--out", "o"], "absent.pth: no such checkpoint"),
        (
            ["features", RECIPE, "--shards", "s", "--checkpoint", "c", "--out", "o", "--kind", "x"],
            "kind must be one of",
        ),
        (
            ["features", RECIPE, *"--shards s --checkpoint c --out o --overlay 1 --model.streams pose".split(" ")],  # noqa: SIM905
            "overlay needs an attention map",
        ),
        (["profile", RECIPE, "--dataset", "kinetics"], "dataset must be one of"),
        (["export", RECIPE, "--checkpoint", "absent.pt", "--out", "m.onnx"], "absent.pt: no such checkpoint"),
    ],
)
def test_unusable_input_is_one_line(argv, message, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_a_part_of_the_network_is_converted_only_when_asked_for(published: Path, tmp_path: Path, capsys):
    state = torch.load(published, weights_only=True)["state_dict"]
    backbone = {name: value for name, value in state.items() if name.startswith("backbone.")}
    source, out = save(tmp_path / "backbone.pth", state_dict=backbone), tmp_path / "o.pth"
    assert main(["convert", RECIPE, "--source", str(source), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "tensors of the network are not in the file, of head.pose, head.rgb" in error
    assert "--partial converts what is there" in error and not out.exists()
    assert main(["convert", RECIPE, "--source", str(source), "--out", str(out), "--partial"]) == 0
    assert all(name.startswith("backbone.") for name in torch.load(out, weights_only=True)["state_dict"])
