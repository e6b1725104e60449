"""Where and how a stream is used: loops that save its state, forks, threads, interruptions, launchers."""

import gc
import multiprocessing
import os
import random
import shutil
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from epam_data.stream import Batch
from epam_data.stream.loading import loader as loader_module
from epam_data.stream.loading.loader import LoaderError
from tests.data.raw_data import needs_proc, open_files
from tests.data.stream.test_stream import make_stream


def keys(batches: Any) -> list[list[str]]:
    return [batch.keys for batch in batches]


def epochs(root: Path, count: int = 3) -> list[list[list[str]]]:
    stream = make_stream(root)
    return [keys(stream.epoch(epoch)) for epoch in range(count)]


# Loops that save a state


def test_iterating_gives_one_epoch_after_another(ntu60_shards: Path) -> None:
    expected = epochs(ntu60_shards)
    with make_stream(ntu60_shards, workers=1) as stream:
        assert [keys(stream) for _ in range(3)] == expected
        stream.set_epoch(1)
        assert keys(stream) == expected[1]
    assert stream._opened is None


def test_a_loop_that_is_left_begins_its_epoch_again(ntu60_shards: Path) -> None:
    expected = epochs(ntu60_shards, 1)
    stream = make_stream(ntu60_shards)
    next(iter(stream))
    assert keys(stream) == expected[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_counts_what_was_given(ntu60_shards: Path, workers: int) -> None:
    """Not what loaders read ahead: a run that stops after any batch goes on with the next."""
    expected = epochs(ntu60_shards)
    for taken in range(2):
        stream = make_stream(ntu60_shards, workers=workers)
        stream.set_epoch(1)
        batches = iter(stream)
        for _ in range(taken):
            next(batches)
        state = stream.state_dict()
        assert (state["epoch"], state["consumed"]) == (1, 6 * taken)
        other = make_stream(ntu60_shards)
        other.load_state_dict(state)
        other.set_epoch(1)  # what loops do before each epoch, also the one that they resume
        assert keys(other) == expected[1][taken:] and keys(other) == expected[2]


def test_a_complete_epoch_is_followed_by_the_next(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards)
    keys(stream)
    assert (stream.state_dict()["epoch"], stream.state_dict()["consumed"]) == (1, 0)


def test_another_epoch_drops_a_restored_position(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards)
    stream.load_state_dict({**stream.state_dict(), "epoch": 1, "consumed": 6})
    stream.set_epoch(2)
    assert keys(stream) == epochs(ntu60_shards)[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "cannot resume, seed was 3, now 4"),
        ({"batch_size": 3}, "cannot resume, batch_size was 6, now 3"),
        ({"window_shards": 1}, "cannot resume, window_shards was 2, now 1"),
        ({"balance": "class"}, "cannot resume, balance was 'none', now 'class'"),
        ({"split": "val", "batch_size": 3}, "cannot resume, split was 'train', now 'val'"),
        ({"training": False}, "cannot resume, training was True, now False"),
    ],
)
def test_a_state_of_another_order_is_refused(ntu60_shards: Path, changes: dict[str, Any], message: str) -> None:
    state = make_stream(ntu60_shards).state_dict()
    with pytest.raises(ValueError, match=f"{message}$"):
        make_stream(ntu60_shards, **changes).load_state_dict(state)


def test_a_state_of_other_shards_or_out_of_range_is_refused(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards)
    with pytest.raises(ValueError, match="index_sha256 was 'x', now"):
        stream.load_state_dict({**stream.state_dict(), "index_sha256": "x"})
    with pytest.raises(ValueError, match=r"0\.\.12, got 600"):
        stream.load_state_dict({**stream.state_dict(), "consumed": 600})


# Forks and threads


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fork_has_a_loader_of_its_own(ntu60_shards: Path, workers: int) -> None:
    """Workers of PyTorch's DataLoader are forks, and a look at one batch starts the loader before."""
    expected = epochs(ntu60_shards, 2)
    stream = make_stream(ntu60_shards, workers=workers, timeout_seconds=30)
    next(stream.epoch(0))
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(keys(stream.epoch(1))))
    child.start()
    here = keys(stream.epoch(0))
    there = answers.get()
    child.join()
    assert here == expected[0] and there == expected[1] and child.exitcode == 0
    assert keys(stream.epoch(1)) == expected[1], "the end of the fork ended the workers of its parent"


def test_an_epoch_that_was_begun_before_a_fork_is_refused_in_it(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards, workers=1, timeout_seconds=30)
    batches = stream.epoch(0)
    next(batches)

    def work() -> None:
        try:
            next(batches)
        except LoaderError as error:
            answers.put(str(error))

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=work)
    child.start()
    assert answers.get() == f"process {os.getpid()} began this run; a process forked from it begins its own"
    child.join()
    assert len(keys(batches)) == 1


def test_a_stream_that_was_begun_in_a_thread_outlives_it(ntu60_shards: Path) -> None:
    expected = epochs(ntu60_shards, 1)[0]
    stream = make_stream(ntu60_shards, workers=2, timeout_seconds=30)
    begun: list[Any] = []

    def begin() -> None:
        batches = stream.epoch(0)
        begun.extend((next(batches), batches))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    first, batches = begun
    assert [first.keys, *keys(batches)] == expected


# Interruptions


def interrupt_at(line: int) -> None:
    """Ctrl-C at the nth line that the loader's code runs from now on."""
    left = [line]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != loader_module.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)


def test_an_epoch_after_an_interrupted_one_is_whole(ntu60_shards: Path) -> None:
    """In a notebook: the cell is stopped anywhere, and run again."""
    expected = epochs(ntu60_shards, 1)[0]
    stream = make_stream(ntu60_shards, workers=1, timeout_seconds=30)
    keys(stream.epoch(0))  # the workers run
    interrupted = 0
    for line in random.Random(7).sample(range(1, 120), 24):
        interrupt_at(line)
        try:
            keys(stream.epoch(0))
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(None)
        assert keys(stream.epoch(0)) == expected, line
    assert interrupted >= 12


def test_an_epoch_after_a_worker_died_is_whole(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards, workers=1, timeout_seconds=30)
    next(stream.epoch(0))
    assert stream._opened is not None
    stream._opened._workers[0].process.kill()
    stream._opened._workers[0].process.wait()
    with pytest.raises(LoaderError, match="died by SIGKILL"):
        keys(stream.epoch(1))
    assert keys(stream.epoch(1)) == epochs(ntu60_shards, 2)[1]


# Descriptors, folders, launchers


@needs_proc
@pytest.mark.parametrize("end", ["close", "drop"])
def test_shards_are_closed_with_the_stream(ntu60_shards: Path, tmp_path: Path, end: str) -> None:
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    stream = make_stream(root)
    expected = keys(stream.epoch(0))
    assert open_files(root)
    if end == "close":
        stream.close()
        assert open_files(root) == ["index.h5"], "it stays mapped while the stream lives"
        assert keys(stream.epoch(0)) == expected, "a later epoch opens them again"
    del stream
    gc.collect()
    assert open_files(root) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_relative_folder_is_that_of_the_beginning(
    ntu60_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Hydra changes the folder after the script began."""
    monkeypatch.chdir(ntu60_shards.parent)
    stream = make_stream(Path(ntu60_shards.name), workers=workers)
    monkeypatch.chdir(tmp_path)
    assert keys(stream.epoch(0)) == epochs(ntu60_shards, 1)[0]


def test_a_launcher_says_which_rank_this_is(ntu60_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    stream = make_stream(ntu60_shards)
    assert (stream.rank, stream.world) == (1, 2)
    given = make_stream(ntu60_shards, rank=0, world=1)
    assert (given.rank, given.world) == (0, 1)
    with pytest.raises(ValueError, match="rank and world need each other, got rank None and world 1"):
        make_stream(ntu60_shards, world=1)


def test_a_batch_outlives_its_stream(ntu60_shards: Path) -> None:
    with make_stream(ntu60_shards, workers=1) as stream:
        batch: Batch = next(iter(stream))
        copy = batch.rgb.clone()
    del stream
    gc.collect()
    assert batch.rgb.equal(copy)
