"""Call a function where it can be killed: in one child process that is kept from call to call.

A damaged video can make a decoder crash, spin for ever or eat all memory. In the child it costs one clip: the caller
gets an exception that says what happened, and the next call gets a fresh child. The child ends when its parent does,
however the parent ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from epam_data.system.child_process import end_with_parent, start_child

_ATTEMPTS = 2  # a child may have been killed for another's sake (the machine's memory): it gets one more chance

_ANSWER_SECONDS = 30  # from one piece of an answer to the next
_END_SECONDS = 5.0  # for a child that closed its pipe to end


class CallFailedError(RuntimeError):
    """The child died or was killed during a call; the message says how."""


class ProcessStartError(OSError):
    """The machine cannot start a process now: out of memory, processes or files. No call is to blame."""


class ChildTraceback(Exception):
    """The cause of an exception that a function raised in the child: the traceback, which does not travel by pickle.

    Args:
        text: the traceback as Python prints it.
        file: of its innermost frame, where the exception was raised.
    """

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.text, self.file = text, file

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class _ChildDiedError(Exception):
    """The child ended in the middle of a call."""


class IsolatedProcess:
    """A child process that runs one call at a time; further threads wait.

    Args:
        timeout_seconds: a call that takes longer is killed, with its child.
        memory_bytes: what the child may allocate; a call that wants more raises MemoryError.
        calls_per_process: then a fresh child takes over, so that a leak cannot grow without end.
    """

    def __init__(self, *, timeout_seconds: float, memory_bytes: int, calls_per_process: int = 1000) -> None:
        self._timeout_seconds, self._memory_bytes = timeout_seconds, memory_bytes
        self._calls_per_process, self._calls = calls_per_process, 0
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._one_at_a_time = threading.Lock()  # Dask runs tasks in threads

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(*arguments)` returns; both go by pickle, the function by its name.

        Raises:
            CallFailedError: the call took too long, or the child died.
            ProcessStartError: the machine cannot start a child.
            TypeError: the function, an argument or the result cannot be pickled; the message names it.
            Exception: whatever the function raises, with a `ChildTraceback` as its cause.
        """
        with self._one_at_a_time:
            return self._call(_pickled_call(function, arguments))

    def _call(self, question: bytes) -> Any:
        for attempt in range(_ATTEMPTS):
            if self._calls >= self._calls_per_process:
                self.close()
            self._calls += 1
            try:
                value, error, origin = self._exchange(question)
            except _ChildDiedError as error:
                if attempt == _ATTEMPTS - 1:
                    raise CallFailedError(f"the decoding process died {_ATTEMPTS} times: {error}") from error
                continue
            if error is not None:
                raise error from origin
            return value
        raise AssertionError("unreachable")

    def _exchange(self, question: bytes) -> Any:
        """Send the child a question and wait for its answer: see `_answer`."""
        pipe = self._pipe or self._start()
        try:
            pipe.send_bytes(question)
            if not pipe.poll(self._timeout_seconds):
                raise CallFailedError(f"took over {self._timeout_seconds:g} s and was stopped")
            return pipe.recv()
        except (EOFError, OSError):  # what the function raises comes as a value: this is the pipe's end
            raise _ChildDiedError(self._how_it_ended()) from None
        except BaseException:  # Ctrl-C: the answer of this call must not be the next one's
            self.close()
            raise

    def close(self) -> None:
        """End the child; the next call starts another."""
        if self._pipe is not None:
            self._pipe.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child, self._pipe, self._calls = None, None, 0

    def _start(self) -> Connection:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise ProcessStartError(error.errno, f"no decoding process can be started: {error.strerror}") from error
        with theirs:
            arguments = [str(theirs.fileno()), str(os.getpid()), str(self._memory_bytes)]
            try:
                self._child = start_child(__name__, "serve", arguments, pass_fds=[theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ProcessStartError(error.errno, f"no decoding process can be started: {error.strerror}") from error
        # A child that is stopped in the middle of its answer must not stop us: reading fails after a while.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWER_SECONDS, 0))
        self._pipe = Connection(ours.detach())
        return self._pipe

    def _how_it_ended(self) -> str:
        assert self._child is not None
        try:
            code = self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.close()
            return "it stopped in the middle of its answer"
        self.close()
        return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _pickled_call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps((Path.cwd(), function, arguments))
    except Exception as error:
        parts = {"the function": function} | {f"argument {n}": value for n, value in enumerate(arguments, 1)}
        what = next((what for what, part in parts.items() if not _can_be_pickled(part)), "the call")
        raise TypeError(f"{_name(function)}: {what} cannot be pickled for the decoding process: {error}") from error


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # pickling runs the code of any class
        return False
    return True


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _answer(question: bytes) -> bytes:
    """The pickled answer to a call: (what it returned, None, None), or (None, what it raised, its traceback)."""
    try:
        folder, function, arguments = pickle.loads(question)
        os.chdir(folder)  # paths may be relative to where the caller is now
        result = function(*arguments)
        try:
            return pickle.dumps((result, None, None))
        except Exception as error:
            raise TypeError(f"{_name(function)} returned what cannot be pickled: {error}") from error
    except Exception as error:  # the boundary: it goes to the caller, whatever it is
        traceback.clear_frames(error.__traceback__)  # their variables may be what used up the memory
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        origin = ChildTraceback("".join(traceback.format_exception(error)), innermost.filename)
        if _can_be_pickled(error):
            return pickle.dumps((None, error, origin))
        return pickle.dumps((None, CallFailedError(f"{type(error).__name__}: {error}"), origin))


def serve() -> None:
    """The child: answer calls until the pipe closes."""
    descriptor, parent, memory_bytes = map(int, sys.argv[1:])
    end_with_parent(parent)
    with contextlib.suppress(ValueError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    pipe = Connection(descriptor)
    while True:
        try:
            question = pipe.recv_bytes()
        except (EOFError, ConnectionError):
            return
        try:
            pipe.send_bytes(_answer(question))
        except ConnectionError:  # nobody is left to hear it
            return
        # What calls leave behind in reference cycles can be large (a PyAV frame holds its decoder's pictures), and
        # Python would wait for many calls. What was there before, the modules, need not be looked at again.
        del question
        gc.collect()
        gc.freeze()
