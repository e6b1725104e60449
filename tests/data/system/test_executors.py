import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from epam_data.system.executors import (
    ExecutorSettings,
    WorkersDiedError,
    available_cores,
    local_executor,
    run,
    run_local,
    run_tasks,
)


def square(number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number, os.getpid()


def die_once(task: tuple[str, int]) -> int:
    mark = Path(task[0]) / "dead"
    if task[1] == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task[1]


def fail_or_hang(task: tuple[str, int]) -> None:
    other_has_begun = Path(task[0]) / "begun"
    if task[1] == 0:
        other_has_begun.touch()
        time.sleep(3600)
    while not other_has_begun.exists():
        time.sleep(0.01)
    raise ValueError("no more space")


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_in_this_process_in_order():
    results = list(run_local(square, [1, 2, 3], 0))
    assert results == [(number * number, os.getpid()) for number in (1, 2, 3)]


def test_in_processes():
    results = list(run_local(square, list(range(6)), 2))
    assert sorted(value for value, _ in results) == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {pid for _, pid in results}


def current_folder(_: int) -> Path:
    return Path.cwd()


def test_processes_are_where_their_parent_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert set(run_local(current_folder, [1, 2], 2)) == {tmp_path}


def test_tasks_of_a_worker_that_died_go_to_a_new_pool(tmp_path: Path, caplog):
    folder = str(tmp_path)
    results = list(run_local(die_once, [(folder, number) for number in range(4)], 2))
    assert sorted(results) == [0, 1, 2, 3]
    assert "a worker process died" in caplog.text


def test_workers_that_die_again_and_again_are_an_error():
    with pytest.raises(RuntimeError, match="worker processes died 5 times in a row"):
        list(run_local(die, [0, 1], 2))


def test_what_a_task_raises_reaches_the_caller_and_a_killed_worker_is_no_hang():
    with local_executor(1) as executor:
        with pytest.raises(ValueError, match="-1 is negative"):
            list(run_tasks(executor, square, [-1]))
        with pytest.raises(BrokenProcessPool):
            list(run_tasks(executor, die, [0]))


def test_workers_end_with_their_parent(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from epam_data.system.executors import run_local\n"
        "def task(number):\n"
        "    os.write(1, b'%d\\n' % os.getpid())\n"  # in one piece: both workers write to one pipe
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    list(run_local(task, [1, 2], 2))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_cores():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_dask_without_an_address_starts_a_cluster_here():
    pytest.importorskip("distributed")
    results = list(run(square, [1, 2, 3], ExecutorSettings(executor="dask", workers=1)))
    assert sorted(value for value, _ in results) == [1, 4, 9]
    assert os.getpid() not in {pid for _, pid in results}


def test_a_cluster_that_is_slow_to_close_loses_no_result(monkeypatch: pytest.MonkeyPatch):
    distributed = pytest.importorskip("distributed")
    close = distributed.LocalCluster.close

    def close_late(cluster: Any, timeout: float) -> None:
        close(cluster)
        raise asyncio.TimeoutError(f"timed out after {timeout} s.")

    monkeypatch.setattr(distributed.LocalCluster, "close", close_late)
    results = list(run(square, [1, 2], ExecutorSettings(executor="dask", workers=1)))
    assert sorted(value for value, _ in results) == [1, 4]


def test_a_task_that_kills_its_dask_workers_is_an_error():
    pytest.importorskip("distributed")
    with pytest.raises(WorkersDiedError, match="Dask gave up on a task"):
        list(run(die, [0], ExecutorSettings(executor="dask", workers=1)))


def test_an_error_ends_the_tasks_that_run(tmp_path: Path):
    folder = str(tmp_path)
    with pytest.raises(ValueError, match="no more space"):
        list(run_local(fail_or_hang, [(folder, 0), (folder, 1)], 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"executor": "spark"}, "executor must be one of local, dask, got 'spark'"),
        ({"workers": -1}, "workers must be in 0..100000, got -1"),
        ({"dask_address": "tcp://host:8786"}, "dask_address belongs to executor dask, got executor 'local'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        ExecutorSettings(**settings)
