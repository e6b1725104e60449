"""The check of `benchmarks.gpu` that copies from page-locked slots while workers refill them.

Loader workers import this file for `Pattern`, and need no torch: it is imported inside the functions.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from epam_data.stream.loading.loader import SlotLoader
from epam_data.stream.loading.slots import Arrays, SlotLayout

if TYPE_CHECKING:
    import torch

LAYOUT = SlotLayout.of(pixels=((4, 1 << 20), np.uint8), places=((64,), np.int64))
WORKERS, ROUNDS = 2, 3
TASKS = {"cuda": 200, "cpu": 40}
BUSY_SIZE = 4096  # of the matrices whose products keep a GPU behind the loader


class Pattern:
    """Fills a batch with its number."""

    def fill(self, task: int, arrays: Arrays) -> int:
        arrays["pixels"][:] = task % 251
        arrays["places"][:] = task
        return task


def pinned_slots(device: torch.device) -> str:
    """Every batch arrives as it was filled, though the GPU lags behind; then everything is unlocked and unmapped."""
    import torch

    from epam_data.stream import page_lock

    told = _Messages()
    page_lock._log.addHandler(told)
    try:
        locked, tasks = 0, TASKS[device.type]
        for _ in range(ROUNDS):
            loader = SlotLoader(Pattern(), LAYOUT, workers=WORKERS)
            if device.type == "cuda":
                page_lock.page_lock(loader.slots)
            wrong, pinned, last = _copy_all(loader, device)
            locked += pinned
            assert not wrong, f"{wrong} of {tasks} batches changed before they were copied"
            page_lock.wait_for_copies()
            loader.close()
            assert bool((last == (tasks - 1) % 251).all()), "the batch that is kept changed at the end"
            assert not last.is_pinned(), "the batch that is kept is still page-locked"
            del last, loader
            assert "epam-batches" not in _maps(), "slots are still mapped"
        refused = [text for text in told.texts if "not page-locked" in text]
        assert len(told.texts) == len(refused), told.texts[0]
    finally:
        page_lock._log.removeHandler(told)
    how = f"{locked} page-locked" if device.type == "cuda" else "from plain memory"
    if refused:
        how += f" ({refused[0]})"
    elif device.type == "cuda":
        assert locked, "no batch was page-locked, and nothing says so"
    torch.ones(1, device=device)  # an error that a call above left behind would come up here
    return f"{ROUNDS * tasks} batches of 4 MB right, {how}, {ROUNDS} times torn down"


def _copy_all(loader: SlotLoader, device: torch.device) -> tuple[int, int, torch.Tensor]:
    """How many batches arrived changed, how many were page-locked, and the pixels of the last one in its slot."""
    import torch

    from epam_data.stream import page_lock

    wrong, pinned = torch.zeros((), dtype=torch.int64, device=device), 0
    size = BUSY_SIZE if device.type == "cuda" else 8
    busy = torch.rand(size, size, device=device)
    source: dict[str, torch.Tensor] = {}
    for task, (value, arrays) in enumerate(loader.run(range(TASKS[device.type]))):
        assert value == task
        busy = torch.nn.functional.normalize(busy @ busy)
        source = {name: torch.from_numpy(array) for name, array in arrays.items()}
        pinned += source["pixels"].is_pinned() if device.type == "cuda" else 0
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in source.items()}
        if device.type == "cuda":
            page_lock.keep_until_copied(source, device)
        wrong += (moved["pixels"] != task % 251).any() | (moved["places"] != task).any()
        del arrays
    return int(wrong), pinned, source["pixels"]


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _maps() -> Any:
    maps = Path("/proc/self/maps")
    return maps.read_text() if maps.exists() else ""
