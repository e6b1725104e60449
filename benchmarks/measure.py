"""Timing, and the table and JSON file that every benchmark writes."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any


def seconds_per_call(function: Callable[[], object], *, repeats: int = 5, at_least_seconds: float = 0.5) -> float:
    """Median over `repeats` of the mean time of a call, each `at_least_seconds` long; the first call is not counted."""
    function()
    times = []
    for _ in range(repeats):
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < at_least_seconds:
            function()
            calls += 1
        times.append((time.perf_counter() - start) / calls)
    return median(times)


def publish(name: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table, and write them with date and machine to `benchmarks/results/<name>.json`."""
    columns = list(rows[0])
    table = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    content = {"date": date.today().isoformat(), "machine": machine(), "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def peak_bytes(pid: int | str = "self") -> int:
    """Peak memory of a process (Linux). Not `ru_maxrss`, which a child inherits from its parent."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has ended")


def machine() -> str:
    """Processor and Python of this machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = f"{names[0]} x {len(names)}" if names else cpu
    return f"{cpu}, Python {platform.python_version()}"


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
