"""Start child processes of this package: they end with their parent and import nothing from the current folder."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing.spawn
import multiprocessing.util
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])
_PR_SET_PDEATHSIG = 1  # Linux: a signal for this process when the thread that started it ends

_START = "import sys; n = int(sys.argv[1]) + 2; sys.path[:] = sys.argv[2:n]; del sys.argv[1:n]; from {} import {}; {}()"
"""`-c` puts the current folder first on the path: what a stranger left there would be imported before our packages. The
path is set before anything is imported, also on Python 3.10, which has no `-P`."""


def start_child(module: str, function: str, arguments: list[str], *, pass_fds: list[int]) -> subprocess.Popen[bytes]:
    """A process that calls `function` of `module`, with `arguments` in `sys.argv[1:]`.

    It has this process's import path without the current folder, a process group of its own, so that Ctrl-C is for the
    parent alone, and no standard input.

    Raises:
        OSError: the machine cannot start a process.
    """
    path = import_path()
    code = _START.format(module, function, function)
    command = [sys.executable, "-c", code, str(len(path)), *path, *arguments]
    future: Future[subprocess.Popen[bytes]] = Future()
    _starter().put((future, command, pass_fds))
    return future.result()


def import_path() -> list[str]:
    """The folders that a child may import from: those of this process but the current one, and that of this package."""
    here = os.path.realpath(os.curdir)
    folders = [folder for folder in sys.path if folder and os.path.realpath(folder) != here]
    return folders if _PACKAGE_FOLDER in folders else [*folders, _PACKAGE_FOLDER]


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """Inside, the processes that `multiprocessing` spawns have the `import_path` of `start_child`, from their start.

    They too are started by `-c`, and get the path of this process later; both is changed where the command lines of all
    of them pass (`PYTHONSAFEPATH` would do half of it, from Python 3.11 on). May be nested, also in other threads.
    """
    global _num_inside
    with _lock:
        _num_inside += 1
        if _num_inside == 1:
            multiprocessing.util.spawnv_passfds = _spawn_safely
            multiprocessing.spawn.get_preparation_data = _preparation_data
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if not _num_inside:
                multiprocessing.util.spawnv_passfds = _spawnv_passfds
                multiprocessing.spawn.get_preparation_data = _get_preparation_data


_num_inside = 0
_spawnv_passfds = multiprocessing.util.spawnv_passfds
_get_preparation_data = multiprocessing.spawn.get_preparation_data


def _spawn_safely(path: Any, args: Sequence[Any], passfds: Sequence[int]) -> Any:
    words = list(args)
    if "-c" in words:
        at = words.index("-c") + 1
        words[at] = f"import sys; sys.path[:] = {import_path()!r}; {words[at]}"
    return _spawnv_passfds(path, words, passfds)


def _preparation_data(name: str) -> dict[str, Any]:
    return {**_get_preparation_data(name), "sys_path": import_path()}


def end_with_parent(parent: int) -> None:
    """Make this process end when `parent`, its parent, does, even by SIGKILL: nobody is left to tell it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the lines above
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


_requests: queue.SimpleQueue[tuple[Future[subprocess.Popen[bytes]], list[str], list[int]]] | None = None
_lock = threading.Lock()


def _starter() -> queue.SimpleQueue[Any]:
    """The queue of a thread that starts processes and never ends: Linux kills a child when its starting thread ends."""
    global _requests
    with _lock:
        if _requests is None:
            _requests = queue.SimpleQueue()
            threading.Thread(target=_start_all, args=(_requests,), daemon=True).start()
        return _requests


def _start_all(requests: queue.SimpleQueue[Any]) -> None:
    while True:
        future, command, pass_fds = requests.get()
        try:
            future.set_result(
                subprocess.Popen(command, pass_fds=pass_fds, stdin=subprocess.DEVNULL, start_new_session=True)
            )
        except BaseException as error:  # the boundary: the caller waits for an answer
            future.set_exception(error)


def _forget_thread() -> None:
    """A forked process has no copy of the thread, and perhaps a lock that it held."""
    global _requests, _lock
    _requests, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_thread)
