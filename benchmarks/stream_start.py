"""Run by `benchmarks.stream` in a new process: measures the start of a stream, and the memory of its workers.

python -m benchmarks.stream_start SHARDS WORKERS
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

BATCHES = 60


def own_mb(pid: int) -> float:
    """Memory of a process without shared memory (batch slots)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(size) for size in re.findall(r"^Rss(?:Anon|File):\s+(\d+) kB", status, re.MULTILINE)) / 1e3


def bare_mb() -> float:
    """Memory of an idle interpreter."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"], stdin=-1, stdout=-1
    ) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        return own_mb(bare.pid)


def main() -> None:
    """Print one JSON object."""
    root, workers = Path(sys.argv[1]), int(sys.argv[2])
    import torch  # noqa: F401  # its import is not measured

    begun = time.perf_counter()
    from epam_data.stream import Stream, StreamSettings

    stream = Stream(root, split="train", settings=StreamSettings(batch_size=16, workers=workers), training=True)
    batches = stream.epoch(0)
    next(batches)
    seconds = time.perf_counter() - begun
    most = 0.0
    if workers:
        pids = [worker.process.pid for worker in stream._opened._workers]
        for _ in islice(batches, BATCHES):
            most = max(most, *map(own_mb, pids))
        most -= bare_mb()
    print(json.dumps({"samples": stream.num_samples, "seconds to first batch": seconds, "MB per worker": most}))


if __name__ == "__main__":
    main()
