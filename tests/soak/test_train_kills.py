"""kill -9 at random moments of a training: it goes on, and ends in the weights of the uninterrupted run, to the bit."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.model.ranks.test_sync_batch_norm import ROOT
from tests.model.tiny import write_shards
from tests.model.train.test_trainer import assert_same_run
from tests.soak.killed_training import SETTINGS

pytestmark = pytest.mark.soak

NUM_KILLS = 30


def test_random_kills(tmp_path: Path):
    seed = int(os.environ.get("EPAM_SEED", time.time()))
    print(f"EPAM_SEED={seed}")
    shards = write_shards(tmp_path / "shards")
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.killed_training", str(shards), str(tmp_path), str(seed), str(NUM_KILLS)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    print(report)
    assert report["kills"] >= NUM_KILLS
    assert report["most_lost"] <= SETTINGS["checkpoint_steps"], "no more than since the last checkpoint"
    for number in range(report["runs"]):
        assert_same_run(tmp_path / f"run-{number}", tmp_path / "whole")
        assert not list((tmp_path / f"run-{number}").glob("best_*_epoch_*.pt"))[1:], "one best"
        assert not list((tmp_path / f"run-{number}").glob(".*")), "nothing is left half-written"
