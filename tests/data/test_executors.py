import os
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest

from epam_data.executors import available_cores, local_executor, run_local, run_tasks


def square(number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number, os.getpid()


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_in_this_process_in_order():
    results = list(run_local(square, [1, 2, 3], 0))
    assert results == [(number * number, os.getpid()) for number in (1, 2, 3)]


def test_in_processes_that_are_recycled():
    results = list(run_local(square, list(range(6)), 2, tasks_per_process=2))
    assert sorted(value for value, _ in results) == [0, 1, 4, 9, 16, 25]
    pids = {pid for _, pid in results}
    assert os.getpid() not in pids
    assert len(pids) >= 2  # 4 tasks go to the first pool, 2 to the next


def test_what_a_task_raises_reaches_the_caller_and_a_killed_worker_is_no_hang():
    with local_executor(1) as executor:
        with pytest.raises(ValueError, match="-1 is negative"):
            list(run_tasks(executor, square, [-1]))
        with pytest.raises(BrokenProcessPool):
            list(run_tasks(executor, die, [0]))


def test_cores():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
