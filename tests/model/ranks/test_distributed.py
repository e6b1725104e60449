import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epam_data.stream import BatchFinisher, Stream
from epam_model.evaluate.predict import evaluate
from epam_model.ranks import distributed as distributed_module
from epam_model.ranks.distributed import Ranks, average_buffers, choose_device, distributed, gather, sum_over_ranks
from epam_model.weights.checkpoint import load_checkpoint, load_weights
from tests.model.tiny import STREAM, TinyRecogniser, tiny_trainer
from tests.model.train.test_trainer import assert_same_run, logged
from tests.model.two_ranks import epam, epam_pcan
from tests.paths import ROOT

WEIGHT_TOLERANCE = 1e-6
"""Ranks add gradients in another order than one process does: float32 rounding, over three steps."""


@pytest.fixture(scope="module")
def two_ranks(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two gloo processes of torchrun left what they did."""
    out = tmp_path_factory.mktemp("two_ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, "-m", "tests.model.two_ranks", str(shards), str(out)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (out / "stdout.txt").write_text(done.stdout)
    return out


@pytest.fixture(scope="module")
def report(two_ranks: Path) -> dict:
    return json.loads((two_ranks / "report.json").read_text())


def test_ranks_tell_each_other(report: dict):
    assert report["world"] == 2
    assert report["is_main"] == [True, False]
    assert report["gathered"] == [{"rank": 0, "list": []}, {"rank": 1, "list": [0]}]
    assert report["sum"] == [3.0]
    assert report["mean"] == [1.5, 1.5]


def test_ranks_that_do_not_agree_are_refused_on_every_rank(report: dict):
    assert report["disagreement"] == ["the ranks do not agree: seed is 0 on rank 0, 1 on rank 1"] * 2
    assert report["failure of the main rank"] == ["the folder is taken"] * 2
    first, second = report["other shards"]
    assert first == second
    assert re.fullmatch(
        r"the ranks do not agree: manifest\.json of the shards \(SHA-256\) is '\w{16}' on rank 0, '\w{16}' on rank 1",
        first,
    )


@pytest.mark.parametrize(("kind", "make"), [("epam", epam), ("pcan", epam_pcan)])
def test_two_ranks_train_the_weights_of_one(kind, make, shards: Path, two_ranks: Path, tmp_path: Path, one_thread):
    tiny_trainer(shards, tmp_path / kind, make(), epochs=1, lr=0.02).fit()
    one = load_checkpoint(tmp_path / kind / "last.pt").weights
    two = load_checkpoint(two_ranks / kind / "last.pt").weights
    start = make().state_dict()
    moved = {key for key in start if not torch.equal(start[key], one[key])}
    banks = {key for key in start if key.endswith("prototypes")}
    assert banks <= moved and len(banks) == (4 if kind == "pcan" else 0)
    assert max((one[name] - start[name]).abs().max().item() for name in start) > 1000 * WEIGHT_TOLERANCE
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=WEIGHT_TOLERANCE, msg=name)
    for ours, theirs in zip(logged(two_ranks / kind), logged(tmp_path / kind), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)  # the mean over ranks is the loss of the global batch


def test_evaluation_over_two_ranks_is_that_of_one(shards: Path, two_ranks: Path, report: dict, one_thread: None):
    checkpoint, model = load_checkpoint(two_ranks / "whole" / "last.pt"), TinyRecogniser()
    load_weights(model, checkpoint.weights, "last.pt")
    stream = Stream(shards, split="val", settings=STREAM, training=False)
    measures = evaluate(model, stream, BatchFinisher.for_shards(stream.manifest), torch.device("cpu"))
    assert measures == checkpoint.measures
    assert report["keys"] == [f"val-{number}" for number in range(7)]


def test_ranks_evaluate_and_end_with_one_model(report: dict):
    assert report["differ"] == []
    assert len(report["evaluated"]) == 2
    assert all(first == second for first, second in report["evaluated"])


def test_two_ranks_go_on_bit_for_bit(two_ranks: Path):
    assert_same_run(two_ranks / "cut", two_ranks / "whole")


def test_two_ranks_report_their_damage_together(two_ranks: Path, tmp_path: Path, one_thread: None):
    """As one process that meets the same."""
    skip = replace(STREAM, on_damage="skip")
    measures = tiny_trainer(two_ranks / "damaged-0", tmp_path / "run", TinyRecogniser(), epochs=1, stream=skip).fit()

    def told(out: Path) -> list[str]:
        lines = (out / "train.log").read_text().splitlines()
        return [re.sub(r"damaged-\d", "", line) for line in lines if line.startswith("damage: ")]

    assert told(two_ranks / "skip") == told(tmp_path / "run")
    assert len(told(tmp_path / "run")) > 5 and measures["num_samples"] == 5
    assert logged(two_ranks / "skip")[-1]["num_samples"] == 5


def test_the_main_rank_alone_writes(two_ranks: Path):
    lines = [line for line in (two_ranks / "stdout.txt").read_text().splitlines() if line.startswith("Epoch(val)")]
    assert len(lines) == 1 + 1 + 2 + 2 + 1  # a rank that spoke twice would double them


def test_one_process_talks_to_nobody():
    tensor = torch.ones(2)
    assert gather("x") == ["x"]
    assert torch.equal(sum_over_ranks(tensor), tensor)
    norm = torch.nn.BatchNorm1d(1)
    average_buffers(norm)
    assert norm.running_mean.item() == 0
    with distributed("cpu") as ranks:
        assert ranks == Ranks()


def test_errors(monkeypatch):
    with pytest.raises(ValueError, match=r"device must be one of auto, cpu, cuda, got 'tpu'"):
        choose_device("tpu", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 0).type == "cpu"
    with pytest.raises(ValueError, match="is cuda, but torch finds no GPU here"):
        choose_device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", 1) == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="process 2 needs its own GPU, this machine has 2"):
        choose_device("cuda", 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="WORLD_SIZE is set, but RANK is not"), distributed("cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="WORLD_SIZE must be a number, got 'two'"), distributed("cpu"):
        pass


def test_a_process_that_waits_alone_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """A Slurm step of two tasks of which one was started."""
    monkeypatch.setattr(distributed_module, "_SLOW_SECONDS", 0.1)
    names = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**names, "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match="Timed out"), distributed("cpu", timeout_seconds=1):
        pass
    own = [record.getMessage() for record in caplog.records if record.name == distributed_module.__name__]
    assert own == [
        "rank 0 has waited 0 s for the other 1 of 2 processes at tcp://127.0.0.1:0; check that all were started"
    ]
