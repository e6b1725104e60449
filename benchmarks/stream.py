"""Clips per second of the stream, compared with only decoding and with other loaders; its start, memory, cold disks.

    python -m benchmarks.stream --shards shards/ntu60_xsub \
        --litdata /tmp/litdata/bin/python --streaming /tmp/streaming/bin/python

The last two are interpreters of environments with other libraries; without them, their rows are left out:

    python -m venv /tmp/litdata && /tmp/litdata/bin/pip install torch litdata simplejpeg zstandard
    python -m venv /tmp/streaming && /tmp/streaming/bin/pip install torch mosaicml-streaming simplejpeg zstandard

An epoch consists of copies of the clips of a shard directory. Each way delivers batches of 16 clips (16 frames of
224 x 224, 48 heatmaps of 56 x 56 per joint) as torch tensors in the training process, with random frames. Four tables,
each with a JSON file:

- `stream`: clips per second from the page cache. The floor is one process that repeatedly decodes the same bytes into
  the same memory, without reading, shuffling or transfer. The ways run in turns; the ratios are medians over the turns,
  each within one turn.
- `stream_start`: seconds from the import of torch to the first batch, with an index of 60,000 samples.
- `stream_memory`: memory of a worker above that of an idle interpreter (without the slots that all processes share),
  over a part of an epoch, with an index of 60,672 and of 2,000,000 samples.
- `stream_cold`: one process, with and without the page cache; kilobytes read from the disk per clip of about 790 kB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import simplejpeg
import torch

from benchmarks.copies import link_copies, write_copies
from benchmarks.measure import publish
from benchmarks.other_loaders import BATCH, SETTINGS
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import ShardReader
from epam_data.stream import Stream
from epam_data.stream.loading.step_reader import StepReader
from epam_data.stream.order.draws import draw_training
from epam_data.system import file_reads

NUM_CLIPS, SHARD_CLIPS, TURNS = 768, 64, 7
INDEX_SAMPLES, MANY_SAMPLES = 60_000, 2_000_000
TABLES = ("stream", "stream_start", "stream_memory", "stream_cold")
FLOOR, OURS_ONE, OURS_TWO = "floor: bare decoding, one process", "ours, 1 worker", "ours, 2 workers"
WEBDATASET_TWO = "webdataset, 2 workers"


def floor(root: Path) -> Iterator[int]:
    """Decode the frames and the volume of one batch into the same arrays, for an epoch."""
    manifest, index = load_manifest(root), load_index(root)
    reader = ShardReader(root, [shard.name for shard in manifest.shards])
    clips = [reader.read_members(int(index.shard[row]), index.row(row)) for row in range(BATCH)]
    heads = [json.loads(members["json"]) for members in clips]
    size, heat, joints = heads[0]["rgb_size_px"], heads[0]["heatmap_size_px"], len(manifest.joints)
    rgb = np.empty((BATCH, SETTINGS.rgb_frames, size, size, 3), np.uint8)
    heatmap = np.empty((BATCH, SETTINGS.pose_frames, joints, heat, heat), np.uint8)
    for step in range(NUM_CLIPS // BATCH):
        for slot, (members, head) in enumerate(zip(clips, heads, strict=True)):
            draw = draw_training(head["num_frames"], SETTINGS, seed=0, epoch=0, position=step * BATCH + slot)
            volume = manifest.codecs.decode_heatmap(members["heatmap.npy.zst"])
            np.take(volume, draw.pose_frames, axis=0, out=heatmap[slot], mode="clip")
            mjpeg, offsets = memoryview(members["rgb.mjpeg"]), head["frame_offsets"]
            for frame, out in zip(draw.rgb_frames.tolist(), rgb[slot], strict=True):
                simplejpeg.decode_jpeg(mjpeg[offsets[frame] : offsets[frame + 1]], "RGB", buffer=out)
        yield BATCH


def clips_per_second(batches: Iterator[int]) -> float:
    """The rate of one epoch after the first batch; the start of the processes is measured separately."""
    next(batches)
    begun, count = time.perf_counter(), 0
    for clips in batches:
        count += clips
    return count / (time.perf_counter() - begun)


def ours(root: Path, workers: int) -> Callable[[], float]:
    """The rate of an epoch of our stream; its processes are started once."""
    stream = Stream(root, split="train", settings=replace(SETTINGS, workers=workers), training=True)
    epochs = iter(range(1000))
    return lambda: clips_per_second(len(batch) for batch in stream.epoch(next(epochs)))


def others(stack: ExitStack, python: str, library: str, root: Path, workers: int) -> Callable[[], float]:
    """The rate of an epoch of another library, in a process with its own interpreter."""
    process = stack.enter_context(
        subprocess.Popen(
            [python, "-m", "benchmarks.other_loaders", library, str(root), str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    )
    assert process.stdin is not None and process.stdout is not None
    stack.callback(process.stdin.close)
    answers = filter(re.compile(r"ready|[\d.]+$").match, process.stdout)  # libraries print too
    next(answers)

    def epoch() -> float:
        print(file=process.stdin, flush=True)
        return float(next(answers))

    return epoch


def throughput_rows(root: Path, pythons: dict[str, str]) -> Iterator[dict[str, object]]:
    """All ways in turns, reading from the page cache."""
    with ExitStack() as stack:
        ways: dict[str, Callable[[], float]] = {FLOOR: lambda: clips_per_second(floor(root))}
        ways |= {"ours, in the training process": ours(root, 0), OURS_ONE: ours(root, 1), OURS_TWO: ours(root, 2)}
        for library, python in pythons.items():
            for workers in (1, 2):
                name = f"{library}, {workers} worker{'s' * (workers > 1)}"
                ways[name] = others(stack, python, library, root, workers)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, epoch in ways.items():
                rates[name].append(epoch())
    for name, own in rates.items():
        row: dict[str, object] = {"way": name, "clips/s": median(own), "ms per clip": 1e3 / median(own)}
        for column, other in (("floor", FLOOR), ("one worker", OURS_ONE), ("webdataset, 2 workers", WEBDATASET_TWO)):
            row[f"of {column}"] = median(a / b for a, b in zip(own, rates[other], strict=True))
        yield row


def start_rows(root: Path, folder: Path) -> Iterator[dict[str, object]]:
    """New processes on an index of `INDEX_SAMPLES` samples, which is created in `folder`."""
    folder.mkdir()
    link_copies(root, folder, times=-(-INDEX_SAMPLES // NUM_CLIPS))
    for workers in (0, 1, 2):
        runs = [started(folder, workers) for _ in range(TURNS)]
        seconds = median(run["seconds to first batch"] for run in runs)
        yield {"workers": workers, "samples": runs[0]["samples"], "seconds to first batch": seconds}


def started(folder: Path, workers: int) -> dict[str, float]:
    """What a new process measures, see `stream_start`."""
    command = [sys.executable, "-m", "benchmarks.stream_start", str(folder), str(workers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def memory_rows(shards: Path, folder: Path) -> Iterator[dict[str, object]]:
    """Workers with indexes of two sizes, of shards of `NUM_CLIPS` clips, which are created in `folder`."""
    source = folder / "source"
    source.mkdir(parents=True)
    write_copies(shards, source, clips=NUM_CLIPS, shard_clips=NUM_CLIPS)
    for samples in (INDEX_SAMPLES, MANY_SAMPLES):
        links = folder / str(samples)
        links.mkdir()
        link_copies(source, links, times=-(-samples // NUM_CLIPS))
        for workers in (1, 2):
            yield {"workers": workers, **started(links, workers)}


def cold_rows(root: Path) -> Iterator[dict[str, object]]:
    """One process; before a cold epoch, the shards are dropped from the page cache."""
    settings = replace(SETTINGS, workers=0)
    results: dict[str, list[tuple[float, float]]] = {}
    for _ in range(TURNS):
        for name, cold, advises in (
            ("page cache", False, True),
            ("cold, frames prefetched", True, True),
            ("cold, plain reads", True, False),
        ):
            file_reads._HAS_FADVISE = file_reads._HAS_NOWAIT = advises
            reader = StepReader(
                root,
                settings.clips(load_manifest(root), load_index(root)),
                split="train",
                settings=settings,
                training=True,
                seed=0,
                rank=0,
                world=1,
            )
            arrays = reader.layout.fresh()
            reader.fill((0, 0), arrays)
            for path in root.glob("*.tar") if cold else ():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            begun, before = time.perf_counter(), _bytes_read()
            for step in range(reader.num_steps):
                reader.fill((1, step), arrays)
            seconds, read = time.perf_counter() - begun, _bytes_read() - before
            clips = reader.num_steps * BATCH
            results.setdefault(name, []).append((clips / seconds, read / clips))
    file_reads._HAS_FADVISE = file_reads._HAS_NOWAIT = True
    for name, runs in results.items():
        rates, sizes = zip(*runs, strict=True)
        yield {"reads": name, "clips/s": median(rates), "best clips/s": max(rates), "kB per clip": median(sizes) / 1e3}


def _bytes_read() -> int:
    """Bytes that the disks have read for this process."""
    (found,) = re.findall(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(found)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--litdata", help="interpreter of an environment with litdata")
    parser.add_argument("--streaming", help="interpreter of an environment with mosaicml-streaming")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    arguments = parser.parse_args()
    pythons = {"webdataset": sys.executable, "litdata": arguments.litdata, "streaming": arguments.streaming}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "shards"
        root.mkdir()
        write_copies(arguments.shards, root, clips=NUM_CLIPS, shard_clips=SHARD_CLIPS)
        os.sync()  # data that is not yet on the disk cannot be dropped from the page cache
        tables: dict[str, Callable[[], Iterator[dict[str, object]]]] = {
            "stream": lambda: throughput_rows(root, {name: path for name, path in pythons.items() if path}),
            "stream_start": lambda: start_rows(root, Path(temporary) / "links"),
            "stream_memory": lambda: memory_rows(arguments.shards, Path(temporary) / "memory"),
            "stream_cold": lambda: cold_rows(root),
        }
        for name in arguments.tables:
            publish(name, list(tables[name]()))


if __name__ == "__main__":
    main()
