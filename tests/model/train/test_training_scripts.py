"""The three training scripts, run by bash: what they refuse, and the commands that they give."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.tiny import write_shards
from tests.paths import PIPELINES

# Writes down its arguments, and leaves the checkpoints that a training would.
STUB = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> calls.txt
for word in "$@"; do
    [[ $word == pipelines/*.yaml ]] || continue
    run=work_dirs/$(basename "$word" .yaml)
    mkdir -p "$run" && touch "$run/best_top1_epoch_3.pt" "$run/last.pt"
done
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the scripts run: stubs in `bin/`, in which `python` is the real one."""
    (tmp_path / "bin").mkdir()
    for name in ("epam-model", "torchrun"):
        (tmp_path / "bin" / name).write_text(STUB)
        (tmp_path / "bin" / name).chmod(0o755)
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path


def run(script: str, folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess:
    places = {"BIN": str(folder / "bin"), "PYTHONPATH": str(PIPELINES.parent), "GPUS": "0"}
    environment = {**os.environ, **places, **variables}
    command = ["bash", str(PIPELINES / script), *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def calls(folder: Path) -> list[str]:
    lines = (folder / "calls.txt").read_text().splitlines()
    (folder / "calls.txt").unlink()
    return lines


def test_streams_alone_then_both_then_the_submission(folder: Path):
    write_shards(folder / "shards" / "ma52_rgbpose", taxonomy="ma52", skeleton="ma52_28")
    result = run("train_ma52_original.sh", folder, "--train.seed", "3")
    assert result.returncode == 0, result.stderr
    assert "shards/ma52_rgbpose: 6 shards of ma52, 14 train, 7 val, 5 test" in result.stdout
    train = "epam-model train pipelines/ma52_rgbpose{}.yaml --shards shards/ma52_rgbpose {}--train.seed 3"
    starts = [f"work_dirs/ma52_rgbpose_{stream}/best_top1_epoch_3.pt" for stream in ("rgb", "pose")]
    assert calls(folder) == [
        train.format("_rgb", ""),
        train.format("_pose", ""),
        train.format("", f"--model.init_from [{', '.join(starts)}] "),
        "epam-model predict pipelines/ma52_rgbpose.yaml --shards shards/ma52_rgbpose --split test --checkpoint "
        "work_dirs/ma52_rgbpose/best_top1_epoch_3.pt --submission work_dirs/ma52_rgbpose/submission.zip",
    ]


def test_an_interrupted_run_goes_on_and_gpus_have_a_process_each(folder: Path):
    write_shards(folder / "elsewhere", taxonomy="ntu60", test=0)
    for options in ("", "--resume "):
        assert run("train_ntu60_x3d.sh", folder, SHARDS="elsewhere", GPUS="8").returncode == 0
        assert calls(folder) == [
            "torchrun --standalone --nproc-per-node 8 -m epam_model.cli train pipelines/ntu60_epam_pcan.yaml "
            f"--shards elsewhere {options}".rstrip()
        ]
    assert run("train_ntu60_original.sh", folder, SHARDS="elsewhere").returncode == 0
    assert [call.split()[2] for call in calls(folder)] == [
        f"pipelines/ntu60_rgbpose{stream}.yaml" for stream in ("_rgb", "_pose", "")
    ]


def test_gpus_are_those_that_torch_sees(folder: Path):
    """torch knows CUDA_VISIBLE_DEVICES; a list of all cards, as a driver's tool gives, does not."""
    write_shards(folder / "shards" / "ntu60_epam_pcan", taxonomy="ntu60", test=0)
    (folder / "torch.py").write_text("class cuda:\n    device_count = staticmethod(lambda: 3)\n")
    path = f"{folder}{os.pathsep}{PIPELINES.parent}"
    assert run("train_ntu60_x3d.sh", folder, PYTHONPATH=path, GPUS="").returncode == 0
    assert calls(folder)[0].startswith("torchrun --standalone --nproc-per-node 3 ")
    (folder / "torch.py").write_text("raise ImportError")
    assert run("train_ntu60_x3d.sh", folder, PYTHONPATH=path, GPUS="").returncode == 0
    assert calls(folder)[0].startswith("epam-model train ")


def test_what_is_missing_is_said_before_anything_runs(folder: Path):
    result = run("train_ntu60_x3d.sh", folder, VIDEOS=str(folder))
    assert result.returncode == 1
    assert "shards/ntu60_epam_pcan: no finished shards" in result.stderr and "VIDEOS" not in result.stderr
    assert "SKELETONS: no skeleton pickle, or folder of them, at ''" in result.stderr
    build = f"epam-data build pipelines/ntu60_epam_pcan.yaml --raw.videos {folder} --raw.skeletons SKELETONS"
    assert f"{build} --out shards/ntu60_epam_pcan" in result.stderr
    shards = write_shards(folder / "shards" / "ntu60_epam_pcan", taxonomy="ma52", skeleton="ma52_28", val=0)
    assert "the shards are of ma52, expected ntu60" in run("train_ntu60_x3d.sh", folder).stderr
    assert "hold no split val" in run("train_ma52_original.sh", folder, SHARDS=str(shards)).stderr
    write_shards(shards, taxonomy="ntu60")
    (shards / "val-000001.tar").write_bytes(b"short")
    (shards / "train-000000.tar").unlink()
    error = run("train_ntu60_x3d.sh", folder).stderr
    assert "2 of 6 shards are missing or cut short: train-000000.tar, val-000001.tar; build again" in error
    assert not (folder / "calls.txt").exists()
    assert "epam-model is not installed" in run("train_ntu60_x3d.sh", folder, BIN="/nowhere").stderr
