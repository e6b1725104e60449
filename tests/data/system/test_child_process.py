"""Children end with their parent, not with a thread of it, and import nothing from the current folder."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from epam_data.system.child_process import end_with_parent, import_path, safe_path, start_child
from epam_data.system.executors import ExecutorSettings, run_dask, run_local
from epam_data.system.isolated import IsolatedProcess
from tests.paths import ROOT

PLANTED = "raise SystemExit('planted')"
NAMES = ("zstandard", "numpy", "json", "pickle", "multiprocessing", "signal", "epam_data", "ast")


def origins(_: int) -> dict[str, str]:
    """Where a process imports what a stranger may have planted."""
    import json
    import signal

    import numpy
    import zstandard

    return {module.__name__: str(module.__file__) for module in (json, signal, numpy, zstandard)}


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder holds modules of a stranger."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def as_in_a_console(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interactive session, or `python -c`: the current folder is first on the path of this process."""
    monkeypatch.setattr(sys, "path", ["", *sys.path])


@pytest.mark.usefixtures("as_in_a_console")
def test_an_isolated_process_imports_nothing_from_the_current_folder(planted: Path):
    child = IsolatedProcess(timeout_seconds=30, memory_bytes=1 << 30)
    try:
        found = child.call(origins, 1)
    finally:
        child.close()
    assert len(found) == 4 and not any(str(planted) in path for path in found.values())


@pytest.mark.parametrize("first", [[], [""], ["."]])
def test_a_process_pool_imports_nothing_from_the_current_folder(
    planted: Path, monkeypatch: pytest.MonkeyPatch, first: list[str]
):
    monkeypatch.setattr(sys, "path", [*first, *sys.path])
    found = list(run_local(origins, [1, 2], 2))
    assert len(found) == 2 and not any(str(planted) in path for each in found for path in each.values())


def folders_of_this_process(_: int) -> list[str]:
    return sys.path


@pytest.mark.usefixtures("as_in_a_console")
def test_the_processes_of_a_cluster_import_nothing_from_the_current_folder(planted: Path):
    pytest.importorskip("distributed")
    settings = ExecutorSettings(executor="dask", workers=1)
    for found in run_dask(folders_of_this_process, [1, 2], settings):
        assert found and "" not in found and str(planted) not in found


@pytest.mark.usefixtures("planted")
def test_other_processes_are_started_as_ever():
    """What the user's own code starts before, after and beside."""
    with safe_path(), safe_path():
        pass
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with pytest.raises(BrokenProcessPool), pool:  # the modules of this folder run, as they would without us
        pool.submit(folders_of_this_process, 1).result()


@pytest.mark.usefixtures("as_in_a_console")
def test_the_path_of_a_child_lacks_the_current_folder(planted: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", ["", str(planted), f"{planted}/../{planted.name}", *sys.path])
    folders = import_path()
    assert not {os.path.realpath(folder) for folder in folders} & {str(planted)} and str(ROOT) in folders


def test_a_package_that_only_the_current_folder_has_is_found(monkeypatch: pytest.MonkeyPatch):
    """A clone that is not installed: the folder of the package comes last, after the standard library."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", ["", "/usr/lib/nothing"])
    assert import_path() == ["/usr/lib/nothing", str(ROOT)]


def sleep_with_parent() -> None:
    end_with_parent(int(sys.argv[1]))
    time.sleep(60)


def test_a_child_outlives_the_thread_that_asked_for_it():
    """The death signal of Linux is for the thread that starts a process."""
    started = []

    def start() -> None:
        started.append(start_child(__name__, "sleep_with_parent", [str(os.getpid())], pass_fds=[]))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    (child,) = started
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1.5)
    finally:
        child.kill()
        child.wait()


def test_a_forked_process_starts_children_of_its_own():
    """A DataLoader's workers are forks, which have no copy of the thread that starts processes."""
    start_child("time", "time", [], pass_fds=[]).wait()
    pid = os.fork()
    if not pid:
        code = start_child("time", "time", [], pass_fds=[]).wait()
        os._exit(code)
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended == (pid, 0)
