"""The batch script, run by bash with a `srun` and a `scontrol` that write down how they are called."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.paths import PIPELINES

SCRIPT = PIPELINES / "slurm" / "train.sbatch"


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (75, True), (137, False)])
def test_only_a_run_that_was_asked_to_stop_goes_back_into_the_queue(tmp_path: Path, code: int, requeued: bool):
    called = tmp_path / "called"
    for name, end in (("srun", f"exit {code}"), ("scontrol", "exit 0")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {called}\n{end}\n')
        program.chmod(0o755)
    done = subprocess.run(
        ["bash", str(SCRIPT), "recipe.yaml", "--shards", "two words"],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_CPUS_PER_TASK": "10",
        },
        check=False,
    )
    assert done.returncode == code
    lines = called.read_text().splitlines()
    started = (
        "srun --kill-on-bad-exit=1 --cpus-per-task=10 epam-model train recipe.yaml --shards two words --auto_resume"
    )
    assert lines == [started, *(["scontrol requeue 7"] if requeued else [])]
