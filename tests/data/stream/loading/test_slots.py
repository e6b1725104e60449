"""Slots: who refers to their memory, what is called before it goes, and what of it `close` frees."""

import gc
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from epam_data.stream.loading.slots import SharedSlots, SlotLayout

LAYOUT = SlotLayout.of(pixels=((16, mmap.PAGESIZE), np.uint8), label=((3,), np.int64))


def is_mapped(address: int) -> bool:
    ranges = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(begin, 16) <= address < int(end, 16) for begin, end in ranges)


def block_bytes(slots: SharedSlots) -> int:
    """Memory that the kernel keeps for a block."""
    return os.fstat(slots.descriptor).st_blocks * 512


def test_arrays_do_not_share_pages_and_keep_what_was_written():
    slots = SharedSlots(LAYOUT, 3)
    for slot in range(3):
        slots.arrays(slot)["pixels"][:] = slot + 1
        slots.arrays(slot)["label"][:] = -slot
    for slot in range(3):
        lent = slots.lend(slot, lambda _: None)
        assert (lent["pixels"] == slot + 1).all() and (lent["label"] == -slot).all()
    slots.close()


def test_a_slot_comes_back_when_nothing_refers_to_its_arrays():
    slots, back = SharedSlots(LAYOUT, 2), list[int]()
    lent = slots.lend(1, back.append)
    part = lent["pixels"][3:5]
    del lent
    assert back == []
    del part
    assert back == [1]
    slots.close()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="/proc is Linux")
@pytest.mark.parametrize("closed", [False, True])
def test_what_is_called_before_unmapping_finds_the_memory(closed: bool):
    slots, found = SharedSlots(LAYOUT, 2), list[bool]()
    address, _ = slots.address_and_size
    slots.before_unmapping(lambda at: found.append(is_mapped(at)), address)
    lent = slots.lend(0, lambda _: None)
    if closed:
        slots.close({0})
        assert found == [True]  # at once, not when the last array goes
    del slots
    gc.collect()
    assert found == ([True] if closed else [])
    assert is_mapped(address)
    del lent
    gc.collect()
    assert found == [True]  # once
    assert not is_mapped(address)


@pytest.mark.skipif(not hasattr(mmap, "MADV_REMOVE"), reason="only Linux gives back part of a block")
def test_close_keeps_the_memory_of_lent_slots_alone():
    slots = SharedSlots(LAYOUT, 5)
    descriptor = os.dup(slots.descriptor)
    for slot in range(5):
        slots.arrays(slot)["pixels"][:] = slot + 1
    before = block_bytes(slots)
    lent = slots.lend(3, lambda _: None)
    slots.close({3})
    left = os.fstat(descriptor).st_blocks * 512
    os.close(descriptor)
    assert (lent["pixels"] == 4).all()
    assert 0 < left <= before / 4


def test_a_fork_frees_and_calls_nothing():
    slots, called = SharedSlots(LAYOUT, 2), list[int]()
    slots.arrays(0)["pixels"][:] = 7
    slots.before_unmapping(called.append, 1)
    child = os.fork()
    if not child:
        slots.close()
        os._exit(len(called))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (slots.arrays(0)["pixels"] == 7).all()
    slots.close()
    assert called == [1]
