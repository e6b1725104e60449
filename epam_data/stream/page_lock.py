"""Page-locked memory, from which a GPU copies while it computes, and the batches that it is still copying."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress

import torch

from epam_data.stream.loading.slots import SharedSlots

_log = logging.getLogger(__name__)

_PORTABLE = 1  # cudaHostRegisterPortable: locked for every GPU of the process, not only for the current one

_in_flight: list[tuple[int, torch.cuda.Event, object]] = []
"""Process, event behind the copies, and what they read: its memory must not be reused before they are done."""

_has_told = False


def page_lock(slots: SharedSlots) -> None:
    """Page-lock shared memory until it is closed or unmapped, so that copies from it to a GPU overlap with work there.

    If CUDA refuses, the slots stay plain memory: copies are the same, but wait. The first refusal is logged.
    """
    address, num_bytes = slots.address_and_size
    try:
        cuda = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:  # no GPU, or torch was built without CUDA
        return tell_refused(str(error))
    code = int(cuda.cudaHostRegister(address, num_bytes, _PORTABLE))
    if code:
        _clear_error()
        return tell_refused(f"cudaHostRegister returned {code} for {num_bytes} bytes")
    slots.before_unmapping(_unlock, cuda.cudaHostUnregister, address)
    return None


def _unlock(unregister: Callable[[int], object], address: int) -> None:
    code = int(unregister(address))  # type: ignore[call-overload]
    if code:
        _clear_error()
        _log.warning("memory of batches stays page-locked: cudaHostUnregister returned %d", code)


def _clear_error() -> None:
    """CUDA keeps the error of a refused call, and torch would raise it at its next kernel: let this one be the next."""
    with suppress(RuntimeError, AssertionError):
        torch.ones(1, device="cuda")


def tell_refused(reason: str) -> None:
    """Log, once per process, that batches are not page-locked."""
    global _has_told
    if not _has_told:
        _has_told = True
        _log.warning("batches are not page-locked, so copies to the GPU do not overlap with its work: %s", reason)


def keep_until_copied(source: object, device: torch.device) -> None:
    """Hold `source` until the copies from it that were started on the current CUDA stream of `device` are done."""
    for entry in [*_in_flight]:
        if entry[0] == os.getpid() and entry[1].query():  # type: ignore[no-untyped-call]
            _in_flight.remove(entry)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(device))
    _in_flight.append((os.getpid(), copied, source))


def wait_for_copies() -> None:
    """Wait until all copies of this process are done, and hold nothing any more."""
    own = [entry for entry in _in_flight if entry[0] == os.getpid()]  # a fork cannot ask about events of its parent
    for entry in own:
        with suppress(RuntimeError):  # the GPU failed, which the trainer reports: it copies nothing any more
            entry[1].synchronize()
        _in_flight.remove(entry)
