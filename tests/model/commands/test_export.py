from pathlib import Path

import pytest
import torch

from epam_model.cli import main
from tests.model.tiny import write_shards
from tests.paths import PIPELINES

RECIPE = str(PIPELINES / "ntu60_epam_pcan.yaml")
CLIPS = ["--stream.batch_size", "2", "--stream.workers", "0", "--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
pytestmark = pytest.mark.usefixtures("one_thread")


def save(path: Path, **wrapped: object) -> Path:
    torch.save(wrapped, path)
    return path


def test_only_a_whole_checkpoint_of_this_model_is_exported(tmp_path: Path, capsys):
    shards = write_shards(tmp_path / "shards", taxonomy="ntu60", train=2, val=2, test=0)
    run = ["--train.epochs", "1", "--train.warmup_epochs", "0", "--train.device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["train", RECIPE, "--shards", str(shards), *CLIPS, *run]) == 0
    capsys.readouterr()
    out = ["--out", str(tmp_path / "model.pt2")]
    best = ["--checkpoint", str(tmp_path / "run" / "best.pt")]
    assert main(["export", RECIPE, *best, *out, "--model.head", "linear"]) == 2
    assert "its model.head is pcan, the recipe has linear" in capsys.readouterr().err
    assert main(["export", RECIPE, *best, *out, "--dataset", "ma52"]) == 2
    assert "the weights do not fit the model: " in capsys.readouterr().err
    assert main(["export", RECIPE, "--checkpoint", str(save(tmp_path / "foreign.pth", state_dict={})), *out]) == 2
    assert "checkpoint version None cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "model.pt2").exists()
