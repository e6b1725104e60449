"""The same command alone, under two agents of torchrun, and with srun's variables; ranks that die, and signals."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.model.ranks.test_sync_batch_norm import ROOT, TOLERANCE, assert_same_curve, run_gloo_ranks
from tests.model.tiny import write_shards
from tests.model.train.test_trainer import assert_same_run, logged

pytestmark = pytest.mark.soak

RECIPE = """
stream: {batch_size: 4, rgb_frames: 2, pose_frames: 6, window_shards: 2, workers: 0}
model: {streams: pose}
train: {epochs: 2, lr: 0.02, warmup_epochs: 0, log_steps: 1, checkpoint_steps: 1, device: cpu, num_threads: 1}
"""
TRAIN = ["-m", "epam_model.cli", "train"]
EPAM_TOLERANCE = 1e-4
"""As `TOLERANCE`, for a deep network. Measured: 1e-5."""

END_SECONDS = 60
"""A rank that dies ends the others within this time, of which torchrun's own grace is 30 s."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("launch") / "shards")


@pytest.fixture(scope="module")
def recipe(shards: Path) -> Path:
    path = shards.parent / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def alone(shards: Path, recipe: Path) -> Path:
    out = shards.parent / "alone"
    process = start([*TRAIN, str(recipe), "--shards", str(shards), "--out", str(out)])
    assert process.wait(120) == 0, process.stdout.read()
    return out


def start(words: list[str], **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def torchrun(*words: str) -> list[str]:
    return ["-m", "torch.distributed.run", *words]


def slurm(rank: int, port: int) -> dict[str, str]:
    """What srun sets for two tasks of one machine."""
    return {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_STEP_NODELIST": "localhost",
        "MASTER_PORT": str(port),
    }


def wait_for_step(out: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() or len((out / "metrics.jsonl").read_text().splitlines()) < step:
        assert all(process.poll() is None for process in processes), processes[0].communicate()[0]
        assert time.monotonic() < deadline, "it never came to this step"
        time.sleep(0.02)


def finish(processes: list[subprocess.Popen[str]]) -> list[int]:
    try:
        return [process.wait(END_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()


def test_two_agents_of_torchrun_train_what_one_process_trains(shards, recipe, alone, tmp_path):
    place = f"127.0.0.1:{free_port()}"
    agent = torchrun("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", place)
    words = [*agent, *TRAIN, str(recipe), "--shards", str(shards), "--out", str(tmp_path / "run")]
    agents = [start(words), start(words)]
    codes = finish(agents)
    assert codes == [0, 0], agents[0].stdout.read() + agents[1].stdout.read()
    assert_same_curve(tmp_path / "run", alone, 5 * TOLERANCE)


def test_processes_of_srun_find_each_other(shards, recipe, alone, tmp_path):
    words = [*TRAIN, str(recipe), "--shards", str(shards), "--out", str(tmp_path / "run")]
    port = free_port()
    tasks = [start(words, **slurm(rank, port)) for rank in range(2)]
    codes = finish(tasks)
    assert codes == [0, 0], tasks[0].stdout.read() + tasks[1].stdout.read()
    assert_same_curve(tmp_path / "run", alone, 5 * TOLERANCE)


LONG = ["--train.epochs", "2000", "--train.patience", "0"]


def test_a_rank_that_dies_ends_the_others(shards, recipe, tmp_path):
    words = [*TRAIN, str(recipe), "--shards", str(shards), "--out", str(tmp_path / "run"), *LONG]
    port = free_port()
    tasks = [start(words, **slurm(rank, port)) for rank in range(2)]
    wait_for_step(tmp_path / "run", 4, tasks)
    tasks[1].kill()
    begun = time.monotonic()
    codes = finish(tasks)
    print(f"the other rank ended after {time.monotonic() - begun:.1f} s, without a launcher")
    assert codes[1] == -signal.SIGKILL and codes[0] not in (0, 75)


def test_torchrun_ends_all_ranks_when_one_dies_and_a_signal_is_a_checkpoint(shards, recipe, tmp_path):
    words = [*TRAIN, str(recipe), "--shards", str(shards), "--out", str(tmp_path / "run"), *LONG, "--auto_resume"]
    command = [*torchrun("--standalone", "--nproc-per-node", "2"), *words]
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = len(logged(tmp_path / "run")) if (tmp_path / "run").exists() else 0
        agent = start(command)
        wait_for_step(tmp_path / "run", before + 4, [agent])
        if number == signal.SIGKILL:
            children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
            os.kill(int(children[-1]), number)
        else:
            agent.send_signal(number)
        begun = time.monotonic()
        assert finish([agent])[0] != 0
        print(f"torchrun ended {time.monotonic() - begun:.1f} s after {number.name}")
    text = (tmp_path / "run" / "train.log").read_text()
    assert "resume: continuing from" in text
    assert "stopped by SIGTERM at step" in text


def test_a_requeued_job_ends_as_the_uninterrupted_one(shards, recipe, alone, tmp_path):
    """Two processes, stopped by SIGUSR1, as Slurm sends it to all of them; the whole run is that of no stop."""
    words = [*TRAIN, str(recipe), "--shards", str(shards), "--auto_resume"]
    for name, stops in (("whole", 0), ("cut", 1)):
        out = tmp_path / name
        for turn in range(stops + 1):
            port = free_port()
            tasks = [start([*words, "--out", str(out)], **slurm(rank, port)) for rank in range(2)]
            if turn < stops:
                wait_for_step(out, 1, tasks)
                for task in tasks:
                    task.send_signal(signal.SIGUSR1)
            codes = finish(tasks)
            if turn == stops:
                assert codes == [0, 0]
            else:  # the run is short: it may have ended before the signal
                assert codes in ([75, 75], [0, 0]), tasks[0].stdout.read()
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_epam_with_pcans_head_on_1_2_and_4_ranks(shards, tmp_path):
    """Synchronised batch norms, dropout and prototypes included; and two ranks of which one goes on."""
    run_gloo_ranks(shards, tmp_path, "pcan")
    for name in ("pcan_2", "pcan_4", "moved"):
        assert_same_curve(tmp_path / name, tmp_path / "pcan_1", EPAM_TOLERANCE)
