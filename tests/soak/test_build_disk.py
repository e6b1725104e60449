"""A disk that is full or read-only: a clear error, whole shards only, and the build goes on later."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from epam_data.shards.layout import MANIFEST
from tests.data.raw_data import folder_bytes, write_ntu60
from tests.soak.test_build_kills import RECIPE

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk_raw")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(raw=write_ntu60(folder / "raw", num_train=16, num_val=5)))
    return path


def run_build(recipe: Path, out: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "epam_data.cli", "build", str(recipe), "--out", str(out), "--workers", "2"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def assert_disk_full(build: subprocess.CompletedProcess[str], out: Path) -> None:
    assert build.returncode == 2, build.stderr
    last = build.stderr.strip().splitlines()[-1]
    assert last.startswith("epam-data build: [Errno 28] No space left on device") and str(out) in last
    assert "Traceback" not in build.stderr


@pytest.mark.parametrize("size", ["16k", "300k"])
def test_no_room_for_the_skeletons(recipe: Path, mount: Callable[..., Path], tmp_path: Path, size: str):
    disk = mount(f"size={size}")
    assert_disk_full(run_build(recipe, disk / "out"), disk / "out")
    mount("size=64m")
    assert run_build(recipe, disk / "out").returncode == 0
    assert run_build(recipe, tmp_path / "whole").returncode == 0
    assert folder_bytes(disk / "out") == folder_bytes(tmp_path / "whole")


@pytest.mark.parametrize("room_bytes", [1 << 15, 1 << 18])
def test_no_room_for_the_shards(recipe: Path, mount: Callable[..., Path], room_bytes: int):
    disk = mount("size=64m")
    out = disk / "out"
    assert run_build(recipe, out).returncode == 0
    expected = folder_bytes(out)
    for path in out.glob("train-*.tar"):
        path.unlink()
    mount(f"size={shutil.disk_usage(disk).used + room_bytes}")
    assert_disk_full(run_build(recipe, out), out)
    finished = {name: data for name, data in folder_bytes(out).items() if name.endswith(".tar") and name[0] != "."}
    assert not (out / MANIFEST).exists()
    assert finished.items() <= expected.items()
    mount("size=64m")
    again = run_build(recipe, out)
    assert again.returncode == 0, again.stderr
    assert f"({len(finished)} reused)" in again.stdout
    assert folder_bytes(out) == expected
    assert not list(out.rglob("*.partial"))


def test_a_read_only_output(recipe: Path, mount: Callable[..., Path]):
    disk = mount("size=64m,ro")
    refused = run_build(recipe, disk / "out")
    assert refused.returncode == 2
    assert refused.stderr == f"epam-data build: [Errno 30] Read-only file system: '{disk}/out'\n"


def test_an_output_that_becomes_read_only(recipe: Path, mount: Callable[..., Path]):
    disk = mount("size=64m")
    assert run_build(recipe, disk / "out").returncode == 0
    before = folder_bytes(disk / "out")
    (disk / "out" / "train-000001.tar").unlink()
    mount("size=64m,ro")
    refused = run_build(recipe, disk / "out")
    assert refused.returncode == 2
    assert "Read-only file system" in refused.stderr and "Traceback" not in refused.stderr
    mount("size=64m,rw")
    assert run_build(recipe, disk / "out").returncode == 0
    assert folder_bytes(disk / "out") == before
