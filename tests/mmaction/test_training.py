"""The configs of the repository in MMEngine's runner: iterations, validation, checkpoint, resume, ranks.

The usual commands are run as docs/mmaction2.md writes them: test_docs.
"""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mmaction
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from epam_model.cli import main
from epam_model.networks.heads import prototype_banks
from epam_model.weights.weight_file import read_state_dict
from tests.mmaction.small import CONFIGS, PIPELINES, small_config

DIST_TRAIN = Path(mmaction.__file__).parent / ".mim" / "tools" / "dist_train.sh"
NO_CHECKPOINT = {"default_hooks.checkpoint": dict(type="CheckpointHook", interval=-1, save_last=False)}
PCAN_TERMS = {
    f"train/loss_{stream}{term}"
    for stream in ("rgb", "pose")
    for term in ("", "_coarse", "_coarse_prototype", "_fine_prototype", "_diversity", "_tree")
}


def logged(runner: Runner) -> dict[str, float]:
    return {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}


def test_all_configs_are_here():
    complete = {"epam_ntu60_baseline", "epam_ntu60_plain", "pcan_ntu60", "pcan_ntu60_x3d", "rgbpose_conv3d"}
    assert {name for name in CONFIGS if not name.endswith(("_shards", "_amp"))} == complete
    assert {f"{name}_shards" for name in complete} | {"pcan_ntu60_x3d_amp"} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_two_iterations_and_a_validation(name, workplace, monkeypatch):
    changes = dict(NO_CHECKPOINT)  # those of RGBPoseConv3D have 300 MB each
    if name.endswith("_amp"):  # MMEngine wants a GPU for it; torch can do the same on the CPU, in bfloat16
        assert Config.fromfile(PIPELINES / f"{name}.py").optim_wrapper.type == "AmpOptimWrapper"
        monkeypatch.setattr("mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available", lambda: True)
        changes["optim_wrapper.dtype"] = "bfloat16"
    runner = Runner.from_cfg(small_config(name, workplace / "work", **changes))
    weights = [weight.detach().clone() for weight in runner.model.parameters()]
    runner.train()
    values = logged(runner)
    assert runner.iter == 2
    terms = {key for key in values if key.startswith("train/loss_")}
    assert terms == ({"train/loss_rgb", "train/loss_pose"} if "plain" in name else PCAN_TERMS)
    assert all(math.isfinite(values[key]) for key in values) and 0 < values["train/loss"] < 200
    assert values["train/loss"] == pytest.approx(sum(values[key] for key in terms), rel=1e-4)
    assert any(not torch.equal(*pair) for pair in zip(weights, runner.model.parameters(), strict=True))
    assert {"val/acc/rgb_top1", "val/acc/pose_top1", "val/acc/RGBPose_1:1_top1", "val/acc/RGBPose_2:1_mean1"} <= {
        *values
    }
    assert len(prototype_banks(runner.model)) == (0 if "plain" in name else 4)
    assert list(Path(runner.log_dir).glob("vis_data/events.out.tfevents*"))


def test_checkpoint_resume_test_and_back(workplace, capsys):
    """A checkpoint of MMEngine goes on, without an environment variable, is tested, and moves into this package."""
    name, work = "pcan_ntu60_x3d_shards", workplace / "work"
    Runner.from_cfg(small_config(name, work)).train()
    first = work / "epoch_1.pth"
    assert first.is_file() and list(work.glob("best_acc_RGBPose*.pth"))

    again = Runner.from_cfg(small_config(name, work, **{"train_cfg.max_epochs": 2, "resume": True}))
    again.load_or_resume()
    state = torch.load(first)["state_dict"]
    assert again.epoch == 1 and again.iter == 2
    assert all(torch.equal(value, state[key]) for key, value in again.model.state_dict().items())
    again.train()
    assert again.epoch == 2 and (work / "epoch_2.pth").is_file()

    tested = Runner.from_cfg(small_config(name, work / "test", load_from=str(work / "epoch_2.pth")))
    assert 0 <= tested.test()["acc/RGBPose_1:1_top1"] <= 1

    pipeline = str(PIPELINES.parent / "ntu60_epam_pcan.yaml")
    assert main(["convert", pipeline, "--source", str(work / "epoch_2.pth"), "--out", "ours.pt"]) == 0
    assert "missing     0\nunexpected  0\n" in capsys.readouterr().out
    assert main(["convert", pipeline, "--source", "ours.pt", "--out", "theirs.pth", "--to", "published"]) == 0
    back, saved = read_state_dict(Path("theirs.pth")), torch.load(work / "epoch_2.pth")["state_dict"]
    assert back.keys() == saved.keys() and all(torch.equal(back[key], saved[key]) for key in saved)


def test_dist_train_with_two_ranks(workplace):
    """`dist_train.sh CONFIG 2`; without GPUs the ranks are joined before MMEngine would join them."""
    Path("config.py").write_text(
        f"_base_ = [{str(PIPELINES / 'pcan_ntu60_x3d_shards.py')!r}]\n"
        'custom_imports = dict(imports=["epam_model.mmaction", "gloo_ranks"], allow_failed_imports=False)\n'
        'model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None)\n'
        "sync_bn = None\n"
        'custom_hooks = [dict(type="RanksAgree")]\n'
    )
    shutil.copy(Path(__file__).with_name("gloo_ranks.py"), "gloo_ranks.py")
    options = ["train_dataloader.batch_size=2", "train_cfg.max_epochs=1", "default_hooks.logger.interval=1"]
    options += [f"{split}_dataloader.num_workers=1" for split in ("train", "val")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(workplace),
        "PORT": "29517",
    }
    words = ["bash", str(DIST_TRAIN), "config.py", "2", "--work-dir", "work", "--cfg-options", *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False, env=environment)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-6000:]
    assert "ranks differ in []; clips ['train-0', 'train-1', 'train-2', 'train-3']" in text
    assert "acc/RGBPose_1:1_top1" in text and Path("work/epoch_1.pth").is_file()
