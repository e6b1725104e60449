"""What several long tests need: their short and full forms, and a record of what ran.

`make soak` runs each kind once, with few kills and one random seed (`EPAM_SEED=7 make soak` repeats a run);
`make soak-all` runs the full counts with several seeds and writes what came out to `benchmarks/results/soak.json`.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import machine
from epam_data.versions import tool_versions

SEEDS_OF_ALL = (0, 1, 2)


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the full counts are asked for."""
    return bool(request.config.getoption("--soak-all"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a `seed` runs once, or once for each seed."""
    if "seed" in metafunc.fixturenames:
        one = int(os.environ.get("EPAM_SEED", time.time()))
        metafunc.parametrize("seed", SEEDS_OF_ALL if metafunc.config.getoption("--soak-all") else [one])


class Results:
    """Collects the outcome of each test; the plug-in behind `--soak-results`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Setup, call and teardown of a test are one row: the worst outcome, and the seconds of all three."""
        row = self._rows.setdefault(report.nodeid, {"test": report.nodeid, "outcome": "passed", "seconds": 0.0})
        row["seconds"] = round(row["seconds"] + report.duration, 1)
        if report.outcome != "passed":
            row["outcome"] = report.outcome
        row.update(report.user_properties)

    def pytest_sessionfinish(self) -> None:
        """Write them all."""
        content = {
            "date": date.today().isoformat(),
            "machine": machine(),
            "platform": platform.platform(),
            "versions": tool_versions(),
            "rows": list(self._rows.values()),
        }
        self._path.write_text(json.dumps(content, indent=1) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Start the record where one is asked for."""
    if path := config.getoption("--soak-results"):
        config.pluginmanager.register(Results(path))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a tmpfs with some options, or remount it with others."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount_with(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if os.path.ismount(place) else ["-o", options]
        done = subprocess.run(["mount", "-t", "tmpfs", *again, "tmpfs", str(place)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting a tmpfs needs rights: {done.stderr.strip()}")
        return place

    yield mount_with
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)
