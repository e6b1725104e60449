"""kill -9 at random moments: after each resume the folder equals that of an uninterrupted build, byte for byte."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data.raw_data import folder_bytes, write_ntu60

pytestmark = pytest.mark.soak

FEW_KILLS, MANY_KILLS = 5, 20
RECIPE = """\
dataset: ntu60
raw: {{protocol: xsub, videos: {raw}/videos, skeletons: {raw}/skeletons.pkl}}
prepare: {{rgb_size_px: 64, heatmap_size_px: 16}}
shard: {{samples_per_shard: 3}}
"""


def start(recipe: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "epam_data.cli", "build", str(recipe), "--out", str(out), "--workers", "2", *more]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def descendants(pid: int) -> list[int]:
    """The process and all below it, parents first."""
    found = [pid]
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def finished_shards(out: Path) -> dict[str, int]:
    """Inode of each shard that has a receipt: a shard that is built again gets another."""
    names = [path.stem for path in (out / ".build" / "receipts").glob("[!.]*.json")]
    return {name: (out / f"{name}.tar").stat().st_ino for name in names if (out / f"{name}.tar").exists()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_all_end(family: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, family)), f"orphans in {family}"


def test_random_kills(tmp_path: Path, seed: int, full: bool, record_property):
    wanted = MANY_KILLS if full else FEW_KILLS
    rng = random.Random(seed)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(raw=write_ntu60(tmp_path / "raw", num_train=16, num_val=5)))
    begun = time.monotonic()
    whole = start(recipe, tmp_path / "whole")
    assert whole.wait() == 0, whole.stdout.read()
    duration = time.monotonic() - begun
    expected = folder_bytes(tmp_path / "whole")

    kills = 0
    for scenario in range(60):  # far more than it takes
        out = tmp_path / f"out-{scenario}"
        for _ in range(3):
            before = finished_shards(out)
            process = start(recipe, out)
            time.sleep(rng.uniform(0.1, duration))
            family = descendants(process.pid)
            victim = process.pid if rng.random() < 0.5 else rng.choice(family)
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
            else:
                kills += process.poll() is None or process.returncode < 0
            process.wait(timeout=120)
            assert_all_end(family)
            after = finished_shards(out)
            assert before.items() <= after.items(), "a finished shard was built twice"
        last = start(recipe, out)
        text, _ = last.communicate(timeout=120)
        assert last.returncode == 0, text
        assert folder_bytes(out) == expected, f"scenario {scenario}"
        assert not list(out.rglob("*.partial"))
        assert sorted(path.name for path in (out / ".build").iterdir()) == [
            "inputs.json",
            "receipts",
            "skeletons.h5",
            "tasks.json",
        ]
        if kills >= wanted:
            record_property("kills", kills)
            record_property("folders", scenario + 1)
            return
    pytest.fail(f"only {kills} kills hit a running build in 60 folders")
