import errno
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from epam_data.system import isolated
from epam_data.system.isolated import CallFailedError, ChildTraceback, IsolatedProcess, ProcessStartError


class Cycle:
    alive = 0

    def __init__(self) -> None:
        self.me = self
        Cycle.alive += 1

    def __del__(self) -> None:
        Cycle.alive -= 1


def leave_a_cycle() -> None:
    Cycle()


def cycles_alive() -> int:
    return Cycle.alive


@pytest.fixture
def child():
    process = IsolatedProcess(timeout_seconds=20, memory_bytes=1 << 30, calls_per_process=3)
    yield process
    process.close()


def test_the_child_is_where_the_caller_is_now(child: IsolatedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert child.call(Path.cwd) == Path.cwd()
    monkeypatch.chdir(tmp_path)
    assert child.call(Path.cwd) == tmp_path


def test_calls_share_a_child_until_it_is_recycled(child: IsolatedProcess):
    pids = [child.call(os.getpid) for _ in range(4)]
    assert len(set(pids[:3])) == 1 and pids[0] != os.getpid()
    assert pids[3] != pids[0]


def test_what_a_function_raises_comes_back_as_it_is(child: IsolatedProcess):
    with pytest.raises(ValueError, match="invalid literal"):
        child.call(int, "many")
    assert child.call(int, "7") == 7


def fail_two_calls_deep(depth: int = 2) -> None:
    if depth:
        fail_two_calls_deep(depth - 1)
    raise KeyError("deep")


def test_the_traceback_of_the_child_comes_along(child: IsolatedProcess):
    with pytest.raises(KeyError, match="deep") as caught:
        child.call(fail_two_calls_deep)
    origin = caught.value.__cause__
    assert isinstance(origin, ChildTraceback) and origin.file == __file__
    assert str(origin).count("in fail_two_calls_deep") == 3 and 'raise KeyError("deep")' in str(origin)


class OddError(Exception):
    """It cannot be made again from its message, as pickle does."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_odd_error() -> None:
    raise OddError(1, 2)


def test_an_error_that_does_not_travel_is_told_in_words(child: IsolatedProcess):
    with pytest.raises(CallFailedError, match=r"^OddError: 1 and 2$") as caught:
        child.call(raise_odd_error)
    assert "in raise_odd_error" in str(caught.value.__cause__)


def test_what_cannot_be_pickled_is_named(child: IsolatedProcess):
    with pytest.raises(TypeError, match=r"<lambda>: the function cannot be pickled for another process: .*lambda"):
        child.call(lambda: 1)
    with pytest.raises(TypeError, match=r"^abs: argument 2 cannot be pickled for another process: .*lock"):
        child.call(abs, 1, threading.Lock())
    with pytest.raises(TypeError, match=r"^Lock|lock.* returned what cannot be pickled: .*lock"):
        child.call(threading.Lock)
    assert child.call(abs, -2) == 2


def test_a_call_that_hangs_is_killed():
    impatient = IsolatedProcess(timeout_seconds=1.5, memory_bytes=1 << 30)
    impatient.call(abs, 1)
    with pytest.raises(CallFailedError, match=r"took over 1\.5 s and was stopped"):
        impatient.call(time.sleep, 60)
    assert impatient.call(abs, -2) == 2
    impatient.close()


def test_a_crash_is_told_and_survived(child: IsolatedProcess):
    with pytest.raises(CallFailedError, match="the decoding process died 2 times: by SIGSEGV"):
        child.call(signal.raise_signal, signal.SIGSEGV)
    with pytest.raises(CallFailedError, match="the decoding process died 2 times: exit code 3"):
        child.call(os._exit, 3)
    assert child.call(abs, -2) == 2


def test_a_child_that_was_killed_from_outside_gets_one_more_chance(child: IsolatedProcess, tmp_path: Path):
    assert child.call(die_once, tmp_path / "mark") == "alive"


def test_what_a_call_leaves_behind_is_gone_at_the_next(child: IsolatedProcess):
    child.call(leave_a_cycle)
    assert child.call(cycles_alive) == 0


def test_threads_take_turns():
    """Dask runs tasks in threads: each must get its own answer."""
    shared = IsolatedProcess(timeout_seconds=20, memory_bytes=1 << 30)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: shared.call(abs, -number), range(200))) == list(range(200))
    shared.close()


def die_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        signal.raise_signal(signal.SIGKILL)
    return "alive"


def test_memory_is_limited(child: IsolatedProcess):
    with pytest.raises(MemoryError):
        child.call(bytearray, 4 << 30)
    assert child.call(abs, -2) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the signal on a parent's death is Linux's own")
def test_the_child_ends_with_its_parent_even_in_the_middle_of_a_call(tmp_path: Path):
    script = (
        "import os, threading, time\n"
        "from epam_data.system.isolated import IsolatedProcess\n"
        "child = IsolatedProcess(timeout_seconds=60, memory_bytes=1 << 30)\n"
        "print(child.call(os.getpid), flush=True)\n"
        "child.call(time.sleep, 60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_killed_in_the_middle_of_its_answer_gets_one_more_chance(child: IsolatedProcess, tmp_path: Path):
    assert child.call(break_off, tmp_path / "mark", signal.SIGKILL) == "whole"


def test_a_child_stopped_in_the_middle_of_its_answer_is_no_hang(
    child: IsolatedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(isolated, "_ANSWER_SECONDS", 1)
    monkeypatch.setattr(isolated, "_END_SECONDS", 0.1)
    assert child.call(break_off, tmp_path / "mark", signal.SIGSTOP) == "whole"


def test_a_machine_that_starts_no_process_is_no_fault_of_the_call(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(ProcessStartError, match="no decoding process can be started: Cannot allocate memory"):
        IsolatedProcess(timeout_seconds=1, memory_bytes=1 << 30).call(abs, 1)


def test_the_answer_of_an_interrupted_call_is_not_the_next_ones(child: IsolatedProcess, monkeypatch: Any):
    child.call(abs, 1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(isolated.Connection, "poll", interrupt)
        with pytest.raises(KeyboardInterrupt):
            child.call(abs, -5)
    assert child.call(abs, -7) == 7


def break_off(mark: Path, signal_number: int) -> str:
    """Begin an answer of a thousand bytes, send one of them and die or stop; the second time answer."""
    if not mark.exists():
        mark.touch()
        os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"x")
        signal.raise_signal(signal_number)
    return "whole"
