"""What `test_fuzz` relies on: each fault of a reader is found and named, and costs no other mutation."""

import os
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.soak.bounded import ACCEPTED, REFUSED, Target, mutation, run_mutations
from tests.soak.mutations import mutated, mutated_json

FAULTS = ("fine", "refuses", "no name", "long", "raises", "aborts", "hangs", "swallows memory", "is out of memory")


def reader_with_faults(folder: Path) -> Target:
    """A mutation is one of `FAULTS`, and the reader has it."""
    path = folder / "file"

    def read(data: bytes) -> None:
        fault = data.decode()
        if fault in ("refuses", "long"):
            raise ValueError(f"{path}: {'x' * (4000 if fault == 'long' else 1)}")
        if fault == "no name":
            raise OSError("refused")
        if fault == "raises":
            raise KeyError("x")
        if fault == "aborts":
            os.abort()
        if fault == "hangs":
            time.sleep(1000)
        if fault in ("swallows memory", "is out of memory"):
            bytearray(b"x") * (1_200_000_000 if fault == "swallows memory" else 3_000_000_000)

    def mutate(data: bytes, random: Random, other: bytes) -> bytes:
        return random.choice(FAULTS).encode()

    return Target(goods=[b"fine"], mutate=mutate, read=read, names=(str(path),))


KINDS = {"faulty": reader_with_faults}
EXPECTED = {
    "fine": ACCEPTED,
    "refuses": REFUSED,
    "no name": "the error does not name the file",
    "long": "an error of 4",
    "raises": "raised KeyError",
    "aborts": "the process ended with -6",
    "hangs": "took over 10 s",
    "swallows memory": "took 1",
    "is out of memory": "raised MemoryError",
}


@pytest.mark.soak
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a process's memory"
)
def test_each_fault_is_found(tmp_path: Path) -> None:
    target = reader_with_faults(tmp_path)
    expected = [EXPECTED[mutation(target, "faulty", 29, number).decode()] for number in range(14)]
    assert set(expected) == set(EXPECTED.values())
    outcomes = list(run_mutations(__name__, "faulty", tmp_path / "x", 29, 14, seconds_each=10))
    assert [each.number for each in outcomes] == list(range(14))
    assert all(each.what.startswith(what) for each, what in zip(outcomes, expected, strict=True)), outcomes


def test_a_mutation_depends_on_its_random_numbers_alone() -> None:
    good = b'{"a": [1, 2, {"b": "text"}], "c": 1.5}' * 3

    def results(mutate: Any, data: bytes) -> list[bytes]:
        return [mutate(data, Random(seed), b"other") for seed in range(300)]

    for mutate, data in ((mutated, good), (mutated_json, good[: len(good) // 3])):
        assert results(mutate, data) == results(mutate, data)
        assert sum(each != data for each in results(mutate, data)) > 280
