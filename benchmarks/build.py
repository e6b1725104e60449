"""The cost of building a clip, compared with only decoding its video; and the speed-up of two workers over one.

    python -m benchmarks.build --videos videos --skeletons ntu60_hrnet.pkl

Takes the first NTU RGB+D clip of the pickle. On one core, in turns: `ffmpeg -f null` (the floor: only decoding, needs
the ffmpeg program), ours with each decoder (decode, crop, resize, heatmaps, JPEG, zstd), and what training without
shards has to do for the clip in every epoch. Then one and two workers build copies of the clip.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.loading import on_the_fly
from benchmarks.measure import peak_bytes, publish
from epam_data.build.build_shard import make_members
from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings, find_reader
from epam_data.readers.pickles import load_pickle
from epam_data.readers.videos import VideoFinder
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Clip
from epam_data.shards.settings import ShardSettings
from epam_data.stream import StreamSettings
from epam_data.stream.order.draws import draw_training

COPIES, SHARD_CLIPS, TURNS = 96, 12, 7


def plan_of(folder: Path, out: str) -> BuildPlan:
    """The default settings, but small shards, so that each worker has several."""
    return BuildPlan(
        dataset="ntu60",
        raw=RawSettings(videos=folder / "videos", skeletons=folder / "copies.pkl", protocol="xsub"),
        prepare=PrepareSettings(),
        shard=ShardSettings(samples_per_shard=SHARD_CLIPS),
        out=folder / out,
    )


def write_copies(folder: Path, videos: Path, skeletons: Path) -> None:
    """The first clip of a pickle, under `COPIES` names."""
    annotation = load_pickle(skeletons)["annotations"][0]
    name = annotation["frame_dir"]
    found = VideoFinder(videos).find(name)
    if found is None:
        raise SystemExit(f"{videos}: no video of {name}")
    (folder / "videos").mkdir()
    names = [f"{name[:8]}P{number:03d}{name[12:]}" for number in range(1, COPIES + 1)]
    for copy in names:
        (folder / "videos" / found.replace(name, copy)).symlink_to((videos / found).resolve())
    annotations = [{**annotation, "frame_dir": copy} for copy in names]
    content = {"split": {"xsub_train": names}, "annotations": annotations}
    (folder / "copies.pkl").write_bytes(pickle.dumps(content))


def seconds_of_one_clip(folder: Path) -> dict[str, float]:
    """Median seconds of each way on one core, in turns, so that other load slows down all of them."""
    plan = plan_of(folder, "unused")
    clip = next(clip for clip in find_reader("ntu60").read(plan.raw) if isinstance(clip, Clip))
    found = plan.raw.videos / str(VideoFinder(plan.raw.videos).find(clip.name))
    clip = replace(clip, video=found)
    info, _, _ = make_members(plan, clip)
    keypoints = np.concatenate([clip.keypoints, clip.scores[..., None]], axis=-1)
    draw = draw_training(info.num_frames, StreamSettings(), seed=0, epoch=0, position=0)
    floor = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", str(found), "-f", "null", "-"]
    ways = {
        "ffmpeg, decoding alone": lambda: subprocess.run(floor, check=True),
        "ours, pyav": lambda: make_members(plan, clip),
        "ours, decord": lambda: make_members(replace(plan, prepare=replace(plan.prepare, decoder="decord")), clip),
        "16 frames + 48 heatmaps on the fly": lambda: on_the_fly(plan.raw.videos, info, keypoints, draw),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if turn:  # the first is a warm-up
                times[name].append(time.perf_counter() - begun)
    os.sched_setaffinity(0, cores)
    return {name: median(values) for name, values in times.items()}


def build_copies(folder: Path, workers: int) -> tuple[float, str]:
    """Seconds per clip while all workers are busy, and the peak memory of the processes by role (Linux)."""
    argv = [sys.executable, "-m", "epam_data.cli", "build", "--dataset", "ntu60", "--raw.protocol", "xsub"]
    argv += ["--raw.videos", str(folder / "videos"), "--raw.skeletons", str(folder / "copies.pkl")]
    argv += ["--shard.samples_per_shard", str(SHARD_CLIPS), "--workers", str(workers)]
    argv += ["--out", str(folder / f"out-{workers}")]
    peaks: dict[str, int] = {}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        time.sleep(0.2)
        for pid, role in _family(process.pid):
            with contextlib.suppress(OSError, ValueError):  # it has just ended
                peaks[role] = max(peaks.get(role, 0), peak_bytes(pid))
    assert process.stdout is not None
    assert f"{COPIES} clips in {COPIES // SHARD_CLIPS} shards" in process.stdout.read()
    finished = sorted(path.stat().st_mtime for path in (folder / f"out-{workers}").glob("*.tar"))
    # Count from when each worker has finished a shard, to exclude the start of the processes.
    seconds = (finished[-1] - finished[workers - 1]) / (len(finished) - workers) / SHARD_CLIPS
    return seconds, ", ".join(f"{role} {peak / 1e6:.0f} MB" for role, peak in sorted(peaks.items()))


def _family(pid: int) -> Iterator[tuple[int, str]]:
    """The processes of a build: (pid, role)."""
    yield pid, "parent"
    found = [pid]
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    for child in found[1:]:
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"resource_tracker" not in command:
                yield child, "decoder" if b"epam_data.system.isolated" in command else "worker"


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--skeletons", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_copies(folder, arguments.videos, arguments.skeletons)
        one_clip = seconds_of_one_clip(folder)
        floor = next(iter(one_clip.values()))
        rows: list[dict[str, Any]] = [
            {"what": name, "s per clip": value, "times the floor": value / floor, "clips/s": 1 / value}
            for name, value in one_clip.items()
        ]
        rates = []
        for workers in (1, 2):
            per_clip, memory = build_copies(folder, workers)
            rates.append(1 / per_clip)
            what = f"epam-data build, {workers} worker{'s' * (workers > 1)} (peak: {memory})"
            if workers > 1:
                what += f", {rates[-1] / rates[0]:.2f} times one"
            rows.append(
                {"what": what, "s per clip": per_clip, "times the floor": per_clip / floor, "clips/s": rates[-1]}
            )
    publish("build", rows)


if __name__ == "__main__":
    main()
