"""kill -9 at random moments of a training: it goes on, and ends in the weights of the uninterrupted run, to the bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.tiny import write_shards
from tests.model.train.test_trainer import assert_same_run
from tests.paths import ROOT
from tests.soak.killed_training import SETTINGS

pytestmark = pytest.mark.soak

FEW_KILLS, MANY_KILLS = 8, 30


def test_random_kills(tmp_path: Path, seed: int, full: bool, record_property):
    wanted = MANY_KILLS if full else FEW_KILLS
    shards = write_shards(tmp_path / "shards")
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.killed_training", str(shards), str(tmp_path), str(seed), str(wanted)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    record_property("kills", report["kills"])
    assert report["kills"] >= wanted
    assert report["most_lost"] <= SETTINGS["checkpoint_steps"], "no more than since the last checkpoint"
    for number in range(report["runs"]):
        assert_same_run(tmp_path / f"run-{number}", tmp_path / "whole")
        assert not list((tmp_path / f"run-{number}").glob("best_*_epoch_*.pt"))[1:], "one best"
        assert not list((tmp_path / f"run-{number}").glob(".*")), "nothing is left half-written"
