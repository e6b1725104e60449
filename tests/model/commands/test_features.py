from pathlib import Path

import h5py
import pytest

from epam_model.cli import main
from tests.model.tiny import write_shards
from tests.paths import PIPELINES

RECIPE = str(PIPELINES / "ntu60_epam_pcan.yaml")
CLIPS = ["--stream.batch_size", "2", "--stream.workers", "0", "--stream.rgb_frames", "2", "--stream.pose_frames", "6"]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_features_and_overlays_of_a_run(tmp_path: Path, capsys):
    shards = write_shards(tmp_path / "shards", taxonomy="ntu60", train=2, val=3, test=0)
    run = ["--train.epochs", "1", "--train.warmup_epochs", "0", "--train.device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["train", RECIPE, "--shards", str(shards), *CLIPS, *run]) == 0
    argv = ["features", RECIPE, "--shards", str(shards), "--checkpoint", str(tmp_path / "run" / "best.pt"), *CLIPS]
    assert main([*argv, "--device", "cpu", "--out", str(tmp_path / "f.h5"), "--overlay", "2"]) == 0
    assert "3 clips of val in" in capsys.readouterr().out
    with h5py.File(tmp_path / "f.h5", "r") as file:
        assert file["attention"].shape == (3, 2, 1, 1)
    assert sorted(path.name for path in (tmp_path / "f_overlay").iterdir()) == ["val-0.png", "val-1.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stream.num_clips", "3"], "stream.num_clips must be 1, got 3"),
        (["--stream.eval_flip"], "stream.eval_flip must be false, got True"),
        (["--overlay", "1", "--overlay_kind", "film"], "overlay_kind must be one of picture, video, got 'film'"),
        (
            ["--overlay", "1", "--stream.heatmap", "drawn", "--stream.eval_crop", "centre"],
            "it needs stream.eval_crop none",
        ),
    ],
)
def test_features_that_cannot_be_are_refused_at_once(options: list[str], message: str, tmp_path: Path, capsys):
    argv = ["features", RECIPE, "--shards", str(tmp_path), "--checkpoint", "none.pt", "--out", str(tmp_path / "f.h5")]
    assert main([*argv, *options]) == 2
    assert message in capsys.readouterr().err
