"""What `epam-model doctor --mmaction` ticks on configs that are right, and says about those that are not."""

import re
import shutil
from pathlib import Path

import pytest

from epam_model.cli import main
from epam_model.mmaction import checklist as module
from tests.mmaction.small import PIPELINES


@pytest.fixture(autouse=True)
def small_clips(monkeypatch):
    monkeypatch.setattr(module, "RGB_PX", 64)
    monkeypatch.setattr(module, "HEATMAP_PX", 16)
    monkeypatch.setattr(module, "_free_memory", lambda: (64 * 10**9, "a GPU"))


def config(text: str = "", base: str = "pcan_ntu60_x3d_shards") -> str:
    Path("config.py").write_text(f"_base_ = [{str(PIPELINES / f'{base}.py')!r}]\n{text}\n")
    return "config.py"


def doctor(capsys, *words: str) -> tuple[int, dict[str, str], str]:
    """The exit code, the lines of the checklist by name, with the mark first, and all of the text."""
    code = main(["doctor", "--mmaction", *words])
    text = capsys.readouterr().out
    lines = re.findall(r"^\[(.)\] (plug-in|data paths|first sample|\S+) +(.*(?:\n {10,}->.*)?)", text, re.M)
    return code, {name: f"{mark}|{detail}" for mark, name, detail in lines}, text


def test_without_a_config(capsys):
    code, lines, text = doctor(capsys)
    assert code == 0, text
    assert list(lines) == ["imports", "registered", "decord", "in_channels", "clip_len", "forward", "memory"]
    assert all(line.startswith("x|") for line in lines.values())
    assert "RGBPoseHead is mmaction.models.heads.rgbpose_head.RGBPoseHead" in lines["registered"]
    assert "features (1, 432, 16, 2, 2) and (1, 216, 48, 2, 2)" in lines["forward"]
    assert "2,499,717 parameters, head 324,520 with 30,720 of fine prototypes" in lines["forward"]
    assert re.search(r"^mmaction2 +1\.", text, re.M) and "known troubles" in text


@pytest.mark.parametrize("base", ["pcan_ntu60_x3d", "pcan_ntu60_x3d_shards", "rgbpose_conv3d", "rgbpose_conv3d_shards"])
def test_configs_of_the_repository(base, workplace, capsys):
    code, lines, text = doctor(capsys, "--config", str(PIPELINES / f"{base}.py"))
    assert code == 0, text
    names = ["imports", "registered", "decord", "config", "plug-in", "in_channels", "clip_len", "forward"]
    assert list(lines) == [*names, "data paths", "first sample", "memory"]
    assert ("shards/" in lines["data paths"]) == base.endswith("_shards")
    assert "imgs (1, 3, " in lines["first sample"] and "keeps about" in lines["memory"]


@pytest.mark.parametrize(
    ("text", "name", "message", "remedy"),
    [
        (
            'custom_imports = dict(_delete_=True, imports=["os"])',
            "plug-in",
            "EPAMBackbone is not in the registry",
            'custom_imports = dict(imports=["epam_model.mmaction"])',
        ),
        (
            'custom_imports = dict(_delete_=True, imports=["epam_backbone"])',
            "plug-in",
            "No module named 'epam_backbone'",
            "name epam_model.mmaction there",
        ),
        (
            "model = dict(cls_head=dict(in_channels=[2048, 512]))",
            "in_channels",
            "in_channels of the head is [2048, 512], the features have [432, 216]",
            "in_channels=[432, 216]",
        ),
        (
            "train_dataloader = dict(dataset=dict(stream=dict(rgb_frames=8, pose_frames=32)))",
            "clip_len",
            "train_dataloader: expected 16 frames, got 8",
            "clip_len=dict(RGB=16, Pose=48)",
        ),
        (
            "model = dict(backbone=dict(return_both_streams=False))",
            "forward",
            "return_both_streams must be True in MMAction2, got False",
            "",
        ),
        (
            'train_dataloader = dict(dataset=dict(root="shards/absent"))',
            "data paths",
            "train_dataloader: shards/absent does not exist; the current folder is ",
            "",
        ),
        (
            "model = dict(cls_head=dict(num_classes=2, num_coarse_classes=0))",
            "first sample",
            "the label of the first sample is 3, the head has 2 classes",
            "",
        ),
        ("train_dataloader = dict(batch_size=100_000)", "memory", "a step of 100000 clips needs", "halve batch_size"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(text, name, message, remedy, workplace, capsys, monkeypatch):
    for costly in {"forward", "memory"} - {name}:
        monkeypatch.setattr(module, f"_{costly}", lambda _: "not looked at")
    if "num_classes" in text:  # labels 0, 1, 2, ...: the first that the small head lacks
        read = module.DATASETS.build
        monkeypatch.setattr(module.DATASETS, "build", lambda settings: [read(settings)[3]])
    code, lines, whole = doctor(capsys, "--config", config(text))
    assert code == 1, whole
    assert lines[name].startswith(" |") and message in lines[name] and remedy in lines[name], lines[name]


def test_two_packages_in_the_folder_of_decord(capsys, monkeypatch):
    monkeypatch.setattr(module, "packages_distributions", lambda: {"decord": ["decord2", "decord", "decord"]})
    code, lines, _ = doctor(capsys)
    assert code == 1 and "decord and decord2 are installed, both in the folder decord" in lines["decord"]
    assert "pip uninstall decord; pip install --force-reinstall --no-deps decord2" in lines["decord"]


def test_data_sets_in_wrappers_are_looked_at(workplace, capsys):
    """Paths and clip lengths of the inner data sets, as if they stood alone."""
    inner = 'dict(type="ShardDataset", root="shards/absent", split="train", stream=dict(rgb_frames=8, pose_frames=32))'
    for wrapped in (
        f'dict(_delete_=True, type="RepeatDataset", times=2, dataset={inner})',
        f'dict(_delete_=True, type="ConcatDataset", datasets=[dict(type="RepeatDataset", times=2, dataset={inner})])',
    ):
        _, lines, _ = doctor(capsys, "--config", config(f"train_dataloader = dict(dataset={wrapped})"))
        assert "train_dataloader: expected 16 frames, got 8" in lines["clip_len"]
        assert "train_dataloader: shards/absent does not exist" in lines["data paths"]


def test_a_pipeline_with_the_other_clip_length(workplace, capsys):
    text = (PIPELINES / "epam_ntu60_baseline.py").read_text().replace("dict(RGB=16, Pose=48)", "dict(RGB=8, Pose=32)")
    shutil.copytree(PIPELINES / "_base_", "_base_")
    Path("config.py").write_text(text)
    code, lines, _ = doctor(capsys, "--config", "config.py")
    assert code == 1 and "train_dataloader: expected 16 frames, got 8" in lines["clip_len"]


def test_a_config_that_cannot_be_read_ends_the_list(workplace, capsys):
    code, lines, _ = doctor(capsys, "--config", "absent.py")
    assert code == 1 and lines["config"].startswith(" |FileNotFoundError") and "forward" not in lines
