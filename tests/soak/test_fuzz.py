"""Files that were changed at random are read, or refused with an error that names them: no crash, no hang, no flood.

A failure names kind, seed and number of the mutation, which `tests.soak.bounded.mutation` makes again from them.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.soak.bounded import ACCEPTED, REFUSED, run_mutations
from tests.soak.fuzz_table import KINDS

COUNTS = {
    "pickle of NTU60": (100, 700),
    "pickle of MA-52": (60, 400),
    "manifest": (60, 500),
    "problems": (20, 150),
    "index": (10, 250),
    "tar": (10, 250),
    "members": (10, 300),
    "checkpoint": (60, 500),
    "recipe": (30, 250),
    "lock": (12, 100),
    "receipts": (10, 100),
}
"""Mutations of each kind: in the short form, and in the full form with each of its three seeds, 10,500 in all."""


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files(kind: str, seed: int, full: bool, tmp_path: Path, record_property) -> None:
    print(f"seed {seed}")
    count = COUNTS[kind][full]
    outcomes = list(run_mutations("tests.soak.fuzz_table", kind, tmp_path / "files", seed, count))
    faults = [each for each in outcomes if each.what not in (ACCEPTED, REFUSED)]
    assert not faults, f"{kind}, seed {seed}, {len(faults)} faults, such as number {faults[0].number}: {faults[0]}"
    counts = Counter(each.what for each in outcomes)
    assert counts.total() == count and counts[REFUSED if kind not in ("problems", "lock") else ACCEPTED]
    record_property("counts", dict(counts))
