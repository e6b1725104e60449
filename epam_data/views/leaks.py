"""What is on both sides of two splits: persons, cameras, setups, and performances that several cameras have filmed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from epam_data.views.facts import ABSENT
from epam_data.views.resolve import ResolvedView

_PERFORMANCE = ("setup", "person", "replication", "action")
"""The facts that all films of one performance have in common."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What two splits have in common. Whether that is a fault depends on what the protocol promises."""

    what: str
    """`person`, `camera`, `setup` or `performance`."""
    splits: tuple[str, str]
    num_values: int
    """Persons (cameras ...) that are in both splits."""
    num_clips: tuple[int, int]
    """Clips of them in each of the two."""
    example: str
    """The number that they share, or for a performance a clip of it in each split."""


def find_leaks(view: ResolvedView) -> Iterator[Leak]:
    """What the splits of a view have in common, as far as the names of the clips tell."""
    facts = view.facts
    for what in ("person", "camera", "setup"):
        if what in facts.known:
            yield from _shared(view, what, facts.column(what))
    if set(_PERFORMANCE) <= set(facts.known):
        columns = np.stack([facts.column(name) for name in _PERFORMANCE])
        _, performance = np.unique(columns, axis=1, return_inverse=True)
        performance = performance.reshape(-1)
        performance[(columns == ABSENT).any(axis=0)] = ABSENT
        yield from _shared(view, "performance", performance)


def untold(view: ResolvedView) -> list[str]:
    """Which of these leaks cannot be found, since the names do not tell."""
    known = set(view.facts.known)
    single = [what for what in ("person", "camera", "setup") if what not in known]
    return single if set(_PERFORMANCE) <= known else [*single, "performance"]


def _shared(view: ResolvedView, what: str, column: NDArray[np.int64]) -> Iterator[Leak]:
    for one, other in combinations(view.rows, 2):
        values = np.intersect1d(column[view.rows[one]], column[view.rows[other]])
        values = values[values != ABSENT]
        if not len(values):
            continue
        rows = [view.rows[split][np.isin(column[view.rows[split]], values)] for split in (one, other)]
        if what == "performance":
            pair = [here[column[here] == values[0]][0] for here in rows]
            example = " and ".join(view.index.keys[row].decode() for row in pair)
        else:
            example = str(values[0])
        yield Leak(
            what=what,
            splits=(one, other),
            num_values=len(values),
            num_clips=(len(rows[0]), len(rows[1])),
            example=example,
        )
