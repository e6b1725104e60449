"""docs/mmaction2.md: every snippet is run, and its tables name what there is."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import mmaction
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.runner import Runner

from epam_model.mmaction import EPAMBackbone, PCANRGBPoseHead
from epam_model.tools.diagnosis import TROUBLES
from tests.mmaction.small import CONFIGS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "mmaction2.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
SMALL = (
    "--cfg-options train_dataloader.batch_size=2 train_dataloader.num_workers=1 val_dataloader.num_workers=1 "
    "test_dataloader.num_workers=1 test_dataloader.dataset.stream.num_clips=1 train_cfg.max_epochs={epochs} "
    "default_hooks.logger.interval=1"
)
JOIN_RANKS = """
import os
if "RANK" in os.environ:
    import torch
    torch.distributed.init_process_group("gloo")
"""


def commands(word: str) -> list[str]:
    return [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if word in line]


def test_every_block_is_run_by_a_test_here():
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"}
    lines = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    ran = [
        *commands("pip install"),
        *commands("doctor"),
        *commands("tools/"),
        *commands("mim train"),
        *commands("convert"),
    ]
    assert sorted(ran) == sorted(lines) and len(ran) == len(set(ran))


@pytest.mark.parametrize("code", [block for kind, block in BLOCKS if kind == "python"])
def test_python(code, data, monkeypatch):
    monkeypatch.chdir(data)
    clips = {"imgs": torch.rand(1, 3, 16, 64, 64), "heatmap_imgs": torch.rand(1, 17, 48, 16, 16)}
    space = dict(clips)
    exec(compile(code, "docs/mmaction2.md", "exec"), space)
    made = [name for name in space if name not in clips and not name.startswith("_")]
    assert made
    if "rgb1" in space:
        assert space["rgb"].shape == (1, 432, 16, 2, 2) and space["pose"].shape == (1, 216, 48, 2, 2)
    if "model" in space:
        model = MODELS.build(space["model"])
        assert sum(weight.numel() for weight in model.parameters()) > 2_000_000
    for name in ("train_dataloader", "val_dataloader"):
        if name in space:
            batch = next(iter(Runner.build_dataloader(space[name], seed=0)))
            assert len(batch["data_samples"]) == 2 and batch["inputs"]["imgs"][0].ndim == 5
    if "custom_imports" in space and "model" not in space:  # what it does: test_replace
        assert space["custom_imports"] == {"imports": ["epam_model.mmaction.replace"]}
    if "model_wrapper_cfg" in space:  # what it does: the two ranks below
        assert space["sync_bn"] is None and f"device_ids={space['model_wrapper_cfg']['device_ids']}" in RANKS
    assert EPAMBackbone and PCANRGBPoseHead


RANKS = "model_wrapper_cfg.type=MMDistributedDataParallel model_wrapper_cfg.device_ids=None sync_bn=None"


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory) -> Path:
    """Where the commands run: `tools`, `pipelines` and small data."""
    folder = tmp_path_factory.mktemp("commands")
    links = {"pipelines": ROOT / "pipelines", "tools": Path(mmaction.__file__).parent / ".mim" / "tools"}
    for name, target in {**links, "data": data / "data", "shards": data / "shards"}.items():
        (folder / name).symlink_to(target)
    (folder / "sitecustomize.py").write_text(JOIN_RANKS)
    return folder


def run(line: str, folder: Path, codes: tuple[int, ...] = (0,)) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path}
    if "dist_train" in line:
        environment |= {"PYTHONPATH": str(folder), "PORT": "29518"}
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode in codes, line + done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_install():
    """What it asks for is what this environment has."""
    line, keep_one = commands("pip install")
    offline = "--dry-run --no-index --no-build-isolation --no-deps"
    text = run(line.replace("pip install", f"pip install {offline}"), ROOT)
    for name in ("mmcv-lite", "openmim"):
        assert f"Requirement already satisfied: {name}" in text
    assert "uninstall --yes decord " in keep_one and keep_one.endswith(" decord2")  # as the Makefile did here
    assert set(packages_distributions()["decord"]) == {"decord2"}


def test_train_resume_and_test(folder):
    first, again, tested = commands("epam_ntu60_baseline_shards.py")
    run(f"{first} {SMALL.format(epochs=1)}", folder)
    assert "Epoch(train) [1]" not in run(f"{again} {SMALL.format(epochs=2)}", folder)
    assert (folder / "work_dirs" / "baseline" / "epoch_2.pth").is_file()
    assert "acc/RGBPose_1:1_top1" in run(f"{tested} {SMALL.format(epochs=1)}", folder)


def test_two_ranks_then_convert(folder):
    (line,) = commands("dist_train.sh")
    assert "acc/RGBPose_1:1_top1" in run(f"{line} {SMALL.format(epochs=1)} {RANKS}", folder)
    for command in commands("convert"):
        assert "missing     0\nunexpected  0\n" in run(command, folder)
    assert torch.load(folder / "load_from_me.pth")["state_dict"].keys() >= {"cls_head.fc_rgb.weight"}


def test_mim(folder):
    (line,) = commands("mim train")
    line = line.replace("--gpus 1", "--gpus 0" if not torch.cuda.is_available() else "--gpus 1")
    assert "acc/RGBPose_1:1_top1" in run(f"{line} {SMALL.format(epochs=1)}", folder)


@pytest.mark.parametrize("line", commands("doctor"))
def test_doctor(line, folder):
    text = run(line, folder, codes=(0, 1))  # 1: this machine has not the memory for a batch of 16
    assert "[x] forward" in text and re.findall(r"^\[ \] (\w+)", text, re.M) in ([], ["memory"])


def test_tables():
    for trouble in TROUBLES:
        assert f"| {trouble.message} | {trouble.cause} | {trouble.remedy} |" in TEXT
    for name in CONFIGS:
        assert name in TEXT or f"{name.removesuffix('_shards')}.py" in TEXT
