"""Accuracy of the demo's recipe on its synthetic set for several seeds, and the control with shuffled labels.

    python -m benchmarks.demo_seeds [--seeds 0 1 2] [--shards demo_out/shards]

Each row is one training run of `pipelines/demo.yaml` with the metrics of its last epoch (not of its best, which is
chosen on the same clips): the demo itself, the demo with more epochs, and the pose stream alone on permuted training
labels, whose accuracy must stay near chance. `seconds` is the time of the complete command. Without `--shards`, the set
is created first, in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import publish

RECIPE = "pipelines/demo.yaml"
RUNS: dict[str, list[str]] = {
    "demo": [],
    "6 epochs": ["--train.epochs", "6"],
    "shuffled labels": ["--model.streams", "pose", "--train.shuffle_labels", "--train.epochs", "3"],
}
METRICS = ("top1_rgb", "top1_pose", "top1_fused")


def call(package: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", f"{package}.cli", *words], check=True, stdout=sys.stderr)


def trained(shards: Path, folder: Path, seed: int, options: list[str]) -> dict[str, Any]:
    """The metrics of the last epoch of one run, and its seconds."""
    begun = time.perf_counter()
    words = ["--shards", str(shards), "--out", str(folder), "--train.seed", str(seed), *options]
    call("epam_model", "train", RECIPE, *words)
    seconds = time.perf_counter() - begun
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    last = [line for line in lines if line["part"] == "val"][-1]
    return {"epochs": last["epoch"], "seconds": round(seconds), **{name: last.get(name, "") for name in METRICS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shards", type=Path, help="shards of the demo, if they are already built")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = options.shards or folder / "shards"
        if options.shards is None:
            raw = folder / "raw"
            call("epam_data", "synth", RECIPE, "--out", str(raw))
            sources = ["--raw.videos", str(raw / "videos"), "--raw.skeletons", str(raw / "synthetic.pkl")]
            call("epam_data", "build", RECIPE, *sources, "--out", str(shards))
        for run, words in RUNS.items():
            for seed in options.seeds:
                rows.append({"run": run, "seed": seed, **trained(shards, folder / f"{run}-{seed}", seed, words)})
    publish("demo_seeds", rows)


if __name__ == "__main__":
    main()
