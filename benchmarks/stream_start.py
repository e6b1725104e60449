"""Run by `benchmarks.stream` in a new process: measures the start of a stream, and the memory of its workers.

The memory is that above an idle interpreter, the largest of all workers after each of some batches.

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
PARTS = ("index", "libraries", "Python's objects and buffers")


def memory_mb(pid: int) -> dict[str, float]:
    """Memory of a process without the batch slots, which all processes of a stream share.

    RSS counts each page that the process can reach, PSS divides shared pages among their processes, USS counts those of
    this process alone; then the parts of the PSS.
    """
    found = dict.fromkeys(("RSS", "PSS", "USS", *PARTS), 0.0)
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.MULTILINE)
    for mapping in filter(None, mappings):
        name = mapping.split("\n", 1)[0]
        if "epam-batches" in name:
            continue
        sizes = {kind: int(size) / 1e3 for kind, size in re.findall(r"^(\w+):\s+(\d+) kB", mapping, re.MULTILINE)}
        part = "index" if "index.h5" in name else "libraries" if ".so" in name else "Python's objects and buffers"
        for kind, size in (
            ("RSS", sizes["Rss"]),
            ("PSS", sizes["Pss"]),
            ("USS", sizes["Private_Clean"] + sizes["Private_Dirty"]),
            (part, sizes["Pss"]),
        ):
            found[kind] += size
    return found


def bare_mb() -> dict[str, float]:
    """Memory of an idle interpreter."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"], stdin=-1, stdout=-1
    ) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        return memory_mb(bare.pid)


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
    most: dict[str, float] = {}
    if workers:
        pids = [worker.process.pid for worker in stream._opened._workers]
        samples = [memory_mb(pid) for _ in islice(batches, BATCHES) for pid in pids]
        bare = bare_mb()
        most = {f"{kind} MB": max(sample[kind] for sample in samples) - bare[kind] for kind in bare}
        most["slots MB"] = stream._opened.slots.address_and_size[1] / 1e6
    print(json.dumps({"samples": stream.num_samples, "seconds to first batch": seconds, **most}))


if __name__ == "__main__":
    main()
