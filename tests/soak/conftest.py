"""What several long tests need."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


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
