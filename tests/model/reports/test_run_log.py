import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from epam_model.reports.run_log import RunLog, as_text, headlines, read_metrics

MEASURES = {"top1_fused": 0.5, "f1_mean_fused": 0.25, "top1_rgb": 0.75, "top5_rgb": 1.0, "f1_mean_rgb": 0.125}


def events(out: Path) -> EventAccumulator:
    return EventAccumulator(str(out / "tensorboard")).Reload()


def test_numbers_are_shown_by_what_they_are():
    shown = {
        "lr": (0.00123, "lr: 1.2300e-03"),
        "lr_head": (0.01, "lr_head: 1.0000e-02"),
        "clips_per_second": (812.34, "clips_per_second: 812.3"),
        "data_wait_share": (0.0312, "data_wait_share: 3.1%"),
        "seconds_left": (3724.0, "time_left: 1 h 02 min"),
        "memory_gb": (11.5, "memory_gb: 11.5"),
        "loss_rgb": (1.5, "loss_rgb: 1.5000"),
    }
    assert {name: as_text(name, value) for name, (value, _) in shown.items()} == {
        name: text for name, (_, text) in shown.items()
    }


def test_the_line_of_an_evaluation_can_be_read():
    assert list(headlines({**MEASURES, "seconds": 3.0})) == ["top1_fused", "f1_mean_fused", "top1_rgb", "seconds"]
    assert headlines({"top1_pose": 0.5, "top5_pose": 1.0}) == {"top1_pose": 0.5, "top5_pose": 1.0}


def test_everything_is_in_the_metrics_and_tensorboard(tmp_path: Path, capsys):
    with RunLog(tmp_path, is_main=True) as log:
        log.values("train", {"loss": 2.0, "seconds_left": 65.0}, epoch=78, progress=(20, 515), step=20)
        log.values("val", MEASURES, epoch=78, progress=(515, 515), step=515)
    text = (tmp_path / "train.log").read_text()
    assert (
        text
        == capsys.readouterr().out
        == (
            "Epoch(train) [78][20/515]  loss: 2.0000  time_left: 1 min 05 s\n"
            "Epoch(val) [78][515/515]  top1_fused: 0.5000  f1_mean_fused: 0.2500  top1_rgb: 0.7500\n"
        )
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0] == {"part": "train", "epoch": 78, "step": 20, "loss": 2.0, "seconds_left": 65.0}
    assert lines[1] == {"part": "val", "epoch": 78, "step": 515, **MEASURES}
    tags = events(tmp_path).Tags()["scalars"]
    assert set(tags) == {"train/loss", "train/seconds_left", *(f"val/{name}" for name in MEASURES)}


def test_pictures_are_in_tensorboard(tmp_path: Path):
    picture = np.full((20, 40, 3), 90, np.uint8)
    with RunLog(tmp_path, is_main=True) as log:
        log.pictures({"a": picture, "b": picture}, step=0)
    found = events(tmp_path)
    assert found.Tags()["images"] == ["clips/a", "clips/b"]
    assert (found.Images("clips/a")[0].width, found.Images("clips/a")[0].height) == (40, 20)


def test_other_ranks_write_nothing(tmp_path: Path, capsys):
    with RunLog(tmp_path / "run", is_main=False) as log:
        log.values("val", MEASURES, epoch=1, progress=(1, 1), step=1)
        log.pictures({"a": np.zeros((2, 2, 3), np.uint8)}, step=0)
        log.line("x")
    assert not (tmp_path / "run").exists() and capsys.readouterr().out == ""


def test_what_is_not_finite_is_no_json(tmp_path: Path):
    """An overflow of fp16, which the scaler takes care of."""
    with RunLog(tmp_path, is_main=True) as log:
        log.values("train", {"loss": 2.0, "grad_norm": float("inf")}, epoch=1, progress=(1, 2), step=1)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {"part": "train", "epoch": 1, "step": 1, "loss": 2.0}


def test_a_terminal_that_goes_away_stops_nothing(tmp_path: Path):
    """`epam-model train | tee` whose tee is killed: the log goes on."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom epam_model.reports.run_log import RunLog\n"
        f"with RunLog(Path({str(tmp_path)!r}), is_main=True) as log:\n"
        "    log.line('one')\n    sys.stdin.readline()\n    log.line('two')\n    log.line('three')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "one\n"
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "train.log").read_text().split() == ["one", "two", "three"]


def test_a_run_that_was_started_without_a_terminal(tmp_path: Path):
    """`epam-model train >&-`"""
    code = (
        "from pathlib import Path\nfrom epam_model.reports.run_log import RunLog\n"
        f"with RunLog(Path({str(tmp_path)!r}), is_main=True) as log:\n    log.line('one')\n"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "train.log").read_text() == "one\n"


def test_a_damaged_line_of_the_metrics_costs_itself(tmp_path: Path):
    with RunLog(tmp_path, is_main=True) as log:
        for step in (1, 2, 3, 4):
            log.values("train", {"loss": 1.0 / step}, epoch=1, progress=(step, 4), step=step)
        log.values("val", MEASURES, epoch=1, progress=(7, 7), step=4)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:20] + b"\0\xff\n", b"[]\n", *lines[2:], b'{"part": "tr']))
    assert [values["step"] for values in read_metrics(path)] == [1, 3, 4, 4]
    with RunLog(tmp_path, is_main=True, resumed_at=3, evaluated_epochs=1):
        assert path.read_bytes() == lines[0] + lines[2]
    assert read_metrics(tmp_path / "none.jsonl") == []
