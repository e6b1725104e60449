import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epam_model.train import run_folder
from epam_model.train.run_folder import RunFolder
from epam_model.weights.checkpoint import Checkpoint, load_checkpoint


def checkpoint(epoch: int) -> Checkpoint:
    weights = {"w": torch.arange(2000.0) + epoch}
    return Checkpoint(weights=weights, optimizer={}, epoch=epoch, consumed=0, shards={}, recipe={})


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def filled(root: Path, *steps: int, keep_last: int = 2) -> RunFolder:
    folder = RunFolder(root, keep_last=keep_last)
    for step in steps:
        folder.save_last(checkpoint(step), step)
    return folder


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path):
    folder = filled(tmp_path, 5, 10, 15)
    folder.save_best(checkpoint(2), "top1_fused")
    folder.save_best(checkpoint(4), "top1_fused")
    folder.save_last(checkpoint(20), 20)
    kept = {"step_00000015.pt", "step_00000020.pt", "best_top1_fused_epoch_4.pt"}
    assert names(tmp_path) == kept | {"last.pt", "latest", "best.pt"}
    assert load_checkpoint(tmp_path / "latest").epoch == load_checkpoint(tmp_path / "last.pt").epoch == 20
    assert load_checkpoint(tmp_path / "best.pt").epoch == 4
    assert (tmp_path / "latest").readlink() == Path("step_00000020.pt"), "the folder can be moved"


def test_steps_are_compared_as_numbers(tmp_path: Path):
    folder = filled(tmp_path, 99_999_999, 100_000_000)
    assert [path.name for path in folder.steps()] == ["step_100000000.pt", "step_99999999.pt"]
    (tmp_path / "step_x.pt").touch()
    assert len(folder.steps()) == 2


@pytest.mark.parametrize(
    ("how", "fault"),
    [("cut", "readable checkpoint ("), ("one bit", "readable checkpoint ("), ("empty", "checkpoint but empty")],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path, how: str, fault: str):
    folder = filled(tmp_path, 5, 10)
    path = tmp_path / "step_00000010.pt"
    data = bytearray(path.read_bytes())
    place = data.index(torch.arange(2000.0).add(10).numpy().tobytes()[400:480])
    data[place] ^= 1
    path.write_bytes({"cut": data[:-500], "one bit": data, "empty": b""}[how])
    told: list[str] = []
    found, loaded = folder.load_last(told.append)
    assert found.name == "step_00000005.pt" and loaded.epoch == 5
    (line,) = told
    assert f"step_00000010.pt: not a {fault}" in line and line.endswith("; trying the previous checkpoint")
    folder.save_last(checkpoint(7), 7)
    assert names(tmp_path) == {"step_00000005.pt", "step_00000007.pt", "last.pt", "latest"}, "the damaged one is gone"


def test_what_is_wrong_but_whole_is_no_reason_to_fall_back(tmp_path: Path):
    folder = filled(tmp_path, 5)
    torch.save({"version": 99}, tmp_path / "step_00000010.pt")
    with pytest.raises(ValueError, match="version 99 cannot be read"):
        folder.load_last(print)


def test_no_checkpoint_or_no_whole_one_is_an_error(tmp_path: Path):
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match=r"last\.pt: no such checkpoint"):
        folder.load_last(print)
    (tmp_path / "step_00000001.pt").touch()
    with pytest.raises(ValueError, match="all of its 1 checkpoints are damaged"):
        folder.load_last(print)


@pytest.mark.parametrize("moment", ["before", "link"])
def test_a_kill_while_saving_leaves_a_whole_one(tmp_path: Path, monkeypatch, moment: str):
    folder = filled(tmp_path, 5)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "save_checkpoint" if moment == "before" else "_point", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.save_last(checkpoint(10), 10)
    monkeypatch.undo()
    path, loaded = folder.load_last(print)
    assert loaded.epoch == (5 if moment == "before" else 10) and path.exists()
    assert not list(tmp_path.glob(".*"))
    folder.save_last(replace(loaded, epoch=12), 12)
    assert load_checkpoint(tmp_path / "latest").epoch == 12


def test_a_second_run_is_refused_while_the_first_is_at_work(tmp_path: Path):
    with RunFolder(tmp_path / "run").held(checkpoint_bytes=1):
        with pytest.raises(ValueError, match=rf"{tmp_path}/run: another run is running here: process {os.getpid()} on"):
            RunFolder(tmp_path / "run").held(checkpoint_bytes=1).__enter__()
        assert names(tmp_path / "run") == {".lock"}
    with RunFolder(tmp_path / "run").held(checkpoint_bytes=1):
        pass
    assert names(tmp_path / "run") == set()


def test_a_folder_that_cannot_hold_a_run_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_links(self: Path, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    with pytest.raises(ValueError, match=r"needs about .* GB for two checkpoints, and .* are free"):
        RunFolder(tmp_path).held(checkpoint_bytes=10**18).__enter__()
    monkeypatch.setattr(Path, "symlink_to", no_links)
    with pytest.raises(OSError, match=rf"Operation not permitted: '{tmp_path}/.probe-link'"):
        RunFolder(tmp_path).held(checkpoint_bytes=1).__enter__()
    assert names(tmp_path) == set()


def test_a_best_checkpoint_may_be_gone(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.save_best(checkpoint(4), "top1_fused")
    assert folder.has_best(4) and not folder.has_best(3)
    (tmp_path / "best_top1_fused_epoch_4.pt").unlink()
    assert not folder.has_best(4)
