"""The loader's processes: order, slots that are never overwritten, and every way in which a worker can fail."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epam_data.stream.loading import loader as loader_module
from epam_data.stream.loading.loader import LoaderError, SlotLoader
from epam_data.stream.loading.slots import Arrays, SlotLayout

LAYOUT = SlotLayout.of(pixels=((4, 1000), np.uint8), places=((3,), np.int64))


class Numbers:
    """Fills arrays with the task's number; words do other things."""

    def fill(self, task: Any, arrays: Arrays) -> Any:
        if task == "bad":
            raise ValueError("clip-7: damaged")
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "leave":
            os._exit(3)
        if task == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if task == "pid":
            return os.getpid()
        if task == "modules":
            return sorted(sys.modules)
        if task % 3 == 0:
            time.sleep(0.002)  # so that workers overtake one another
        arrays["pixels"][:] = task % 251
        arrays["places"][:] = task
        return task


@pytest.fixture(params=[0, 1, 3])
def loader(request: pytest.FixtureRequest) -> Iterator[SlotLoader]:
    made = SlotLoader(Numbers(), LAYOUT, workers=request.param)
    yield made
    made.close()


@pytest.fixture
def two_workers() -> Iterator[SlotLoader]:
    made = SlotLoader(Numbers(), LAYOUT, workers=2, timeout_seconds=30)
    yield made
    made.close()


def holds(task: int, arrays: Arrays) -> bool:
    return bool((arrays["pixels"] == task % 251).all() and (arrays["places"] == task).all())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_batches_come_in_the_order_of_the_tasks(loader: SlotLoader):
    for _ in range(2):
        results = [(task, value, holds(task, arrays)) for task, (value, arrays) in enumerate(loader.run(range(100)))]
        assert results == [(task, task, True) for task in range(100)]


def test_batches_that_are_kept_outlive_the_loader(two_workers: SlotLoader):
    kept = [arrays for task, (_, arrays) in enumerate(two_workers.run(range(8))) if task in (5, 7)]
    two_workers.close()
    assert holds(5, kept[0]) and holds(7, kept[1])


def test_no_task_no_batch(loader: SlotLoader):
    assert list(loader.run([])) == []


def test_a_batch_that_is_kept_is_never_overwritten(loader: SlotLoader):
    kept = [arrays for task, (_, arrays) in enumerate(loader.run(range(200))) if task % 7 == 0 or task > 150]
    tasks = [task for task in range(200) if task % 7 == 0 or task > 150]
    assert all(holds(task, arrays) for task, arrays in zip(tasks, kept, strict=True))


def test_a_view_keeps_its_slot(two_workers: SlotLoader):
    rows = [arrays["pixels"][2:3, 10:20] for _, arrays in two_workers.run(range(60))]
    assert [int(row[0, 0]) for row in rows] == list(range(60))


def test_slots_are_used_again(two_workers: SlotLoader):
    places = {arrays["pixels"].__array_interface__["data"][0] for _, arrays in two_workers.run(range(100))}
    assert len(places) <= two_workers.slots.num_slots


def test_batches_outlive_the_loader():
    made = SlotLoader(Numbers(), LAYOUT, workers=1)
    _, arrays = next(made.run(range(3)))
    made.close()
    del made
    gc.collect()
    assert holds(0, arrays)


def test_a_run_that_is_given_up_leaves_nothing_in_the_next(loader: SlotLoader):
    for _ in range(20):
        first = loader.run(range(1000, 1050))
        assert next(first)[0] == 1000
        first.close()
        second = loader.run(range(5))
        assert [value for value, _ in second] == [0, 1, 2, 3, 4]


def test_what_fill_raises_comes_in_its_turn(loader: SlotLoader):
    run = loader.run([1, 2, "bad", 3])
    assert [next(run)[0], next(run)[0]] == [1, 2]
    with pytest.raises(ValueError, match=r"^clip-7: damaged$"):
        next(run)
    assert [value for value, _ in loader.run([4, 5])] == [4, 5]  # the loader goes on


@pytest.mark.parametrize(
    ("task", "how"),
    [("die", r"died by SIGKILL; is the machine out of memory\?"), ("leave", "died exit code 3")],
)
def test_a_worker_that_dies_is_named(two_workers: SlotLoader, task: str, how: str):
    with pytest.raises(LoaderError, match=rf"^loader worker \d \(process \d+\) {how}$"):
        list(two_workers.run([1, 2, task, 3, 4]))


def test_a_worker_that_was_killed_from_outside_is_named(two_workers: SlotLoader):
    pid = next(two_workers.run(["pid"]))[0]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(LoaderError, match=rf"^loader worker \d \(process {pid}\) died by SIGKILL"):
        list(two_workers.run(range(20)))


def test_a_worker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, caplog: Any):
    monkeypatch.setattr(loader_module, "_SLOW_SECONDS", 0.5)
    made = SlotLoader(Numbers(), LAYOUT, workers=1, timeout_seconds=1.0)
    try:
        with pytest.raises(LoaderError, match=r"^loader worker 0 \(process \d+\) has not answered for 1 s$"):
            list(made.run(["stop"]))
        assert "has not answered for 0.5 s" in caplog.text
    finally:
        made.close()


def test_a_slow_consumer_is_no_slow_worker(two_workers: SlotLoader):
    run = two_workers.run(range(12))
    assert next(run)[0] == 0
    two_workers._timeout_seconds = 0.3
    time.sleep(0.6)
    assert [value for value, _ in run] == list(range(1, 12))


def test_workers_hold_no_torch(two_workers: SlotLoader):
    assert "torch" not in next(two_workers.run(["modules"]))[0]


def test_a_run_that_is_only_set_aside_costs_no_slot(two_workers: SlotLoader):
    aside = two_workers.run(range(1000, 1050))
    assert next(aside)[0] == 1000
    time.sleep(0.2)  # the workers go on, ahead of it
    assert [value for value, _ in two_workers.run(range(5))] == [0, 1, 2, 3, 4]
    with pytest.raises(LoaderError, match="the loader was closed, or another run of it was started"):
        next(aside)


def test_a_closed_loader_says_so(two_workers: SlotLoader):
    run = two_workers.run(range(50))
    next(run)
    two_workers.close()
    with pytest.raises(LoaderError, match="the loader was closed"):
        list(run)


def test_a_kept_batch_keeps_no_loader():
    made = SlotLoader(Numbers(), LAYOUT, workers=1)
    pid, arrays = next(made.run(["pid"]))
    del made
    gc.collect()
    assert arrays and not alive(pid)


def test_forgotten_loaders_leave_no_descriptor_open():
    def descriptors() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(3):
        list(SlotLoader(Numbers(), LAYOUT, workers=1).run([1]))
    assert descriptors() <= before


def test_a_worker_that_cannot_start_is_named(monkeypatch: pytest.MonkeyPatch, caplog: Any):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(LoaderError, match=r"^loader worker 0 \(process \d+\) died exit code 1$"):
        list(SlotLoader(Numbers(), LAYOUT, workers=1).run([1]))


def test_closing_ends_the_workers():
    made = SlotLoader(Numbers(), LAYOUT, workers=2)
    pids = {value for value, _ in made.run(["pid"] * 20)}
    made.close()
    made.close()
    assert pids and not any(map(alive, pids))


def test_a_forgotten_loader_ends_its_workers():
    made = SlotLoader(Numbers(), LAYOUT, workers=1)
    pid = next(made.run(["pid"]))[0]
    del made
    gc.collect()
    assert not alive(pid)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent_and_leave_nothing(tmp_path: Path, end: signal.Signals):
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, time\n"
        "sys.path.insert(0, '.')\n"
        "from tests.data.stream.loading.test_loader import LAYOUT, Numbers\n"
        "from epam_data.stream.loading.loader import SlotLoader\n"
        "loader = SlotLoader(Numbers(), LAYOUT, workers=2)\n"
        "print(*{value for value, _ in loader.run(['pid'] * 20)}, flush=True)\n"
        "time.sleep(60)\n"
    )
    before = set(Path("/dev/shm").iterdir())
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert pids
    parent.send_signal(end)
    parent.wait(10)
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, pids))
    assert set(Path("/dev/shm").iterdir()) <= before
