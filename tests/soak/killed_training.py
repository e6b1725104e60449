"""Trainings that are killed at random moments: `python -m tests.soak.killed_training SHARDS ROOT SEED NUM_KILLS`.

Each training is a fork of this process, so that torch is imported once for all of them.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from epam_model.train.run_folder import RunFolder
from tests.model.gloo_ranks import start_ranks, train

SETTINGS = {
    "epochs": 6,
    "checkpoint_steps": 2,
    "keep_last": 2,
    "ema_decay": 0.8,
    "optimizer": "adamw",
    "lr": 0.01,
    "warmup_epochs": 1,
    "patience": 20,
}


def start(shards: Path, out: Path) -> int:
    (child,) = start_ranks(1, lambda ranks: train(ranks, shards, out, "tiny", -1, **SETTINGS))
    return child


def lost_steps(out: Path) -> int:
    """Steps that were logged, and are behind the newest checkpoint."""
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    done = max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)
    newest = RunFolder(out).steps()
    return done - (int(newest[0].stem.removeprefix("step_")) if newest else 0)


def main(shards: Path, root: Path, seed: int, num_kills: int) -> None:
    rng = random.Random(seed)
    begun = time.monotonic()
    assert os.waitpid(start(shards, root / "whole"), 0)[1] == 0
    duration = time.monotonic() - begun
    kills = runs = most_lost = 0
    while kills < num_kills:
        out = root / f"run-{runs}"
        while True:
            child = start(shards, out)
            time.sleep(rng.uniform(0.1, 0.8) * duration)
            os.kill(child, signal.SIGKILL)  # not yet waited for, so it is there, or a zombie
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            most_lost = max(most_lost, lost_steps(out))
            if code == 0:  # it was done before
                break
            assert code == -signal.SIGKILL, code
            kills += 1
        runs += 1
    print(json.dumps({"kills": kills, "runs": runs, "most_lost": most_lost, "whole_seconds": round(duration, 2)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
