"""Seconds and memory of the steps that a build does once per data set: ingest, plan, finalise, and a dry run.

    python -m benchmarks.scale

Skeletons of NTU60's real size are synthesised: 56,578 clips of 84 frames on average, one or two persons. The dry run
reads 1,000,000 clips. Each step runs in its own process, to measure its own peak memory; the row of a process that only
imports the package is for comparison.
"""

from __future__ import annotations

import argparse
import itertools
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import peak_bytes, publish
from epam_data.build.build import finalise
from epam_data.build.estimate import estimate
from epam_data.build.ingest import ingest, store_identity
from epam_data.build.plan import BuildPlan, plan_tasks
from epam_data.build.receipts import ShardResult, write_receipt
from epam_data.build.skeleton_store import SkeletonStore, write_store
from epam_data.readers import RawSettings
from epam_data.readers.ntu60 import missing_skeletons
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Clip
from epam_data.shards.layout import IndexRow, ShardSummary
from epam_data.shards.settings import ShardSettings
from epam_data.system.files import file_sha256

NTU60_CLIPS, MANY_CLIPS = 56_578, 1_000_000
STEPS = ("import only", "ingest", "ingest again", "plan", "finalise", "dry run of many")


def ntu_names() -> Iterator[str]:
    """Names in NTU RGB+D's pattern, without those of recordings without skeletons."""
    numbers = itertools.product(range(1, 18), range(1, 4), range(1, 41), range(1, 3), range(1, 61))
    names = (f"S{s:03d}C{c:03d}P{p:03d}R{r:03d}A{a:03d}" for s, c, p, r, a in numbers)
    return (name for name in names if name not in missing_skeletons())


def write_skeletons(path: Path) -> None:
    """A pickle in PYSKL's layout, of NTU60's size."""
    rng = np.random.default_rng(0)
    names = list(itertools.islice(ntu_names(), NTU60_CLIPS))
    annotations = []
    for name in names:
        shape = (int(rng.integers(1, 3)), int(np.clip(rng.normal(84, 25), 32, 300)), 17)
        annotations.append(
            {
                "frame_dir": name,
                "label": int(name[-3:]) - 1,
                "img_shape": (1080, 1920),
                "original_shape": (1080, 1920),
                "total_frames": shape[1],
                "keypoint": rng.uniform(0, 1000, (*shape, 2)).astype(np.float16),
                "keypoint_score": rng.uniform(0, 1, shape).astype(np.float16),
            }
        )
    splits = {"xsub_train": names[:40_091], "xsub_val": names[40_091:]}
    with path.open("wb") as file:
        pickle.dump({"split": splits, "annotations": annotations}, file, protocol=4)


def many_clips() -> Iterator[Clip]:
    """A million tiny clips."""
    rng = np.random.default_rng(0)
    points, scores = rng.uniform(0, 1000, (1, 2, 17, 2)).astype(np.float16), np.ones((1, 2, 17), np.float16)
    for number in range(MANY_CLIPS):
        name = f"clip-{number:07d}"
        yield Clip(
            key=name,
            name=name,
            split="val" if number % 4 == 0 else "train",
            label=number % 60,
            keypoints=points,
            scores=scores,
            image_size=(1080, 1920),
        )


def plan_in(folder: Path, skeletons: str, out: str) -> BuildPlan:
    """The plan of a step; there are no videos, since none is decoded."""
    (folder / "videos").mkdir(exist_ok=True)
    plan = BuildPlan(
        dataset="ntu60",
        raw=RawSettings(videos=folder / "videos", skeletons=folder / skeletons, protocol="xsub"),
        prepare=PrepareSettings(),
        shard=ShardSettings(),
        out=folder / out,
    )
    plan.work_folder.mkdir(parents=True, exist_ok=True)
    return plan


def write_receipts(plan: BuildPlan) -> None:
    """Write the files of a finished build, with shards of one byte."""
    sources = ingest(plan)
    with SkeletonStore(plan.store) as store:
        frames = store.num_frames
        for task in plan_tasks(plan, store, sources):
            (plan.out / f"{task.name}.tar").write_bytes(b"x")
            rows = tuple(
                IndexRow(
                    key=store.keys[row],
                    label=0,
                    coarse_label=0,
                    num_frames=int(frames[row]),
                    offset=0,
                    member_bytes=(1, 2, 3, 4),
                )
                for row in task.rows
            )
            sha256 = file_sha256(plan.out / f"{task.name}.tar")
            summary = ShardSummary(name=task.name, split=task.split, num_bytes=1, sha256=sha256, rows=rows)
            result = ShardResult(summary=summary, problems=(), fingerprint=task.fingerprint, stamp=None, seconds=1.0)
            write_receipt(plan.output, result)


def run_step(step: str, folder: Path) -> float:
    """Do one step; returns its seconds."""
    plan = plan_in(folder, "ntu60.pkl", "out")
    if step == "finalise":
        write_receipts(plan)
    many = plan_in(folder, "many.pkl", "many")
    begun = time.perf_counter()
    if step in ("ingest", "ingest again"):
        ingest(plan)
    elif step == "plan":
        with SkeletonStore(plan.store) as store:
            assert len(plan_tasks(plan, store, {})) == 222
    elif step == "finalise":
        assert finalise(plan).num_samples == NTU60_CLIPS
    elif step == "dry run of many":
        assert sum(estimate(many).num_clips.values()) == MANY_CLIPS
    return time.perf_counter() - begun


def main() -> None:
    """Run every step in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        seconds = run_step(arguments.step, arguments.folder)
        print(seconds, peak_bytes())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_skeletons(folder / "ntu60.pkl")
        (folder / "many.pkl").write_bytes(b"in place of the source of an existing store")
        many = plan_in(folder, "many.pkl", "many")
        write_store(many.store, many_clips(), store_identity(many, {"many.pkl": file_sha256(folder / "many.pkl")}))
        rows = []
        for step in STEPS:
            argv = [sys.executable, "-m", "benchmarks.scale", "--step", step, "--folder", temporary]
            done = subprocess.run(argv, check=True, capture_output=True, text=True)
            seconds, peak = map(float, done.stdout.split())
            rows.append({"step": step, "seconds": round(seconds, 2), "peak MB": round(peak / 1e6)})
    publish("scale", rows)


if __name__ == "__main__":
    main()
