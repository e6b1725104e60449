"""Page-locked slots and running copies, with a CUDA library that only notes what it is asked for."""

import gc
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from epam_data.stream import Stream, StreamSettings, page_lock
from epam_data.stream.batch import Batch
from tests.data.stream.loading.test_slots import is_mapped

SETTINGS = StreamSettings(batch_size=2, rgb_frames=2, pose_frames=4, workers=1)


class Cuda:
    """`torch.cuda.cudart()` with the answers that a test chooses."""

    def __init__(self, register: int = 0, unregister: int = 0) -> None:
        self.answers = register, unregister
        self.locked: dict[int, int] = {}
        self.flags: list[int] = []
        self.unlocked_mapped: list[bool] = []

    def cudaHostRegister(self, address: int, num_bytes: int, flags: int) -> int:
        self.locked[address] = num_bytes
        self.flags.append(flags)
        return self.answers[0]

    def cudaHostUnregister(self, address: int) -> int:
        self.unlocked_mapped.append(is_mapped(address))
        del self.locked[address]
        return self.answers[1]


class Event:
    """A CUDA event that is over when the test says so."""

    made: list["Event"] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.stream, self.over = None, False
        Event.made.append(self)

    def record(self, stream: object) -> None:
        self.stream = stream

    def query(self) -> bool:
        return self.over

    def synchronize(self) -> None:
        self.over = True


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    Event.made.clear()
    monkeypatch.setattr(page_lock, "_has_told", False)
    monkeypatch.setattr(page_lock, "_in_flight", [])
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")


def with_cuda(monkeypatch: pytest.MonkeyPatch, **answers: int) -> Cuda:
    cuda = Cuda(**answers)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cuda)
    return cuda


def pinned(root: Path, **changes: int) -> Stream:
    settings = StreamSettings(**{**vars(SETTINGS), **changes})
    return Stream(root, split="train", settings=settings, training=True, pin_memory=True)


def labels(stream: Stream) -> list[list[int]]:
    return [batch.label.tolist() for batch in stream.epoch(0)]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="/proc is Linux")
@pytest.mark.parametrize("closes", [False, True])
def test_slots_are_unlocked_while_they_are_mapped(people_shards: Path, monkeypatch: pytest.MonkeyPatch, closes: bool):
    cuda = with_cuda(monkeypatch)
    stream = pinned(people_shards)
    labels(stream)
    assert list(cuda.locked.values()) == [stream._opened.slots.address_and_size[1]]
    assert cuda.flags == [1]  # for all GPUs
    if closes:
        stream.close()
    del stream
    gc.collect()
    assert cuda.unlocked_mapped == [True]


def test_an_unlocking_that_fails_is_told(
    people_shards: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with_cuda(monkeypatch, unregister=713)
    with pinned(people_shards) as stream:
        next(iter(stream))
    assert [record.getMessage() for record in caplog.records] == [
        "memory of batches stays page-locked: cudaHostUnregister returned 713"
    ]


def test_a_batch_that_is_kept_does_not_keep_the_block_locked(people_shards: Path, monkeypatch: pytest.MonkeyPatch):
    cuda = with_cuda(monkeypatch)
    stream = pinned(people_shards)
    *_, last = stream.epoch(0)
    label = last.label.tolist()
    page_lock.keep_until_copied(last, torch.device("cuda:0"))  # nothing asks for this event any more
    stream.close()
    assert cuda.locked == {} and Event.made[0].over and page_lock._in_flight == []
    assert last.label.tolist() == label and not last.rgb.is_pinned()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_refused_lock_costs_one_warning(
    people_shards: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workers: int
):
    cuda = with_cuda(monkeypatch, register=304)
    kernels = []
    monkeypatch.setattr(torch, "ones", lambda *_, device: kernels.append(device))

    def refuse(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.Tensor, "pin_memory", refuse)
    plain = Stream(people_shards, split="train", settings=SETTINGS, training=True)
    for _ in range(2):
        with pinned(people_shards, workers=workers) as stream:
            assert labels(stream) == labels(plain)
    plain.close()
    (told,) = caplog.records
    reason = r"cudaHostRegister returned 304 for \d+ bytes" if workers else "CUDA error: out of memory"
    assert told.levelno == logging.WARNING
    with pytest.raises(RuntimeError, match=rf"^batches are not page-locked, so copies .* with its work: {reason}$"):
        raise RuntimeError(told.getMessage())
    assert kernels == ["cuda"] * 2 * workers  # each takes the error that CUDA keeps for the next kernel
    assert cuda.unlocked_mapped == []


def test_without_a_gpu_batches_are_plain(
    people_shards: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def no_cuda() -> object:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch.cuda, "cudart", no_cuda)
    with pinned(people_shards) as stream:
        assert len(labels(stream)) == len(stream)
    assert "Torch not compiled with CUDA enabled" in caplog.text


def test_an_event_is_recorded_where_the_copy_runs(people_shards: Path, monkeypatch: pytest.MonkeyPatch):
    """The current GPU may be another one."""
    with Stream(people_shards, split="train", settings=SETTINGS, training=True) as stream:
        batch = next(iter(stream))
    copies = []

    def moved(self: Batch, function: object) -> object:
        copies.append(function)
        return SimpleNamespace(label=SimpleNamespace(device=torch.device("cuda:3")))

    monkeypatch.setattr(Batch, "_map", moved)
    batch.to("cuda:3")
    assert [event.stream for event in Event.made] == ["stream of cuda:3"]
    asked = []
    copies[0](SimpleNamespace(to=lambda device, non_blocking: asked.append((device, non_blocking))))
    assert asked == [("cuda:3", True)]


def test_copies_to_other_devices_wait(people_shards: Path):
    with Stream(people_shards, split="train", settings=SETTINGS, training=True) as stream:
        batch = next(iter(stream))
    assert batch.to("cpu").label.equal(batch.label)
    assert batch.to("meta").label.is_meta
    assert Event.made == []


def test_memory_is_held_until_its_own_copy_is_done():
    """On several GPUs, a later copy may be done before an earlier one."""
    sources = [object(), object(), object()]
    for number, source in enumerate(sources[:2]):
        page_lock.keep_until_copied(source, torch.device("cuda", number))
    Event.made[1].over = True
    page_lock.keep_until_copied(sources[2], torch.device("cuda", 0))
    assert [entry[2] for entry in page_lock._in_flight] == [sources[0], sources[2]]


def test_a_fork_asks_nothing_about_the_copies_of_its_parent(monkeypatch: pytest.MonkeyPatch):
    page_lock.keep_until_copied("batch", torch.device("cuda"))
    monkeypatch.setattr(page_lock.os, "getpid", lambda: -1)
    page_lock.wait_for_copies()
    page_lock.keep_until_copied("own", torch.device("cuda"))
    assert [entry[2] for entry in page_lock._in_flight] == ["batch", "own"]
    assert not Event.made[0].over


def test_a_gpu_that_failed_does_not_stop_the_end(monkeypatch: pytest.MonkeyPatch):
    def fail(_: Event) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(Event, "synchronize", fail)
    page_lock.keep_until_copied("batch", torch.device("cuda"))
    page_lock.wait_for_copies()
    assert page_lock._in_flight == []
