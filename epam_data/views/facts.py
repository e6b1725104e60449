"""What is known of each clip of an index: numbers in its name, its label, its length."""

from __future__ import annotations

import difflib

import numpy as np
from numpy.typing import NDArray

from epam_data.readers import DATASETS, Reader, find_reader
from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest
from epam_data.system.printable import brief

ABSENT = -1
"""In place of a number that a clip's name does not have."""

_OF_INDEX = ("label", "num_frames")
_ROWS = 1 << 16  # whose names are Python's own at a time
_FACT_OF_FIELD = {"subject": "person"}


def fact_of(field: str) -> str:
    """What views call a field of the clips' names."""
    return _FACT_OF_FIELD.get(field, field)


class Facts:
    """Columns (N,) int64 of the clips of an index, made when they are first asked for.

    Args:
        manifest: of the shards.
        index: of the shards.
    """

    def __init__(self, manifest: Manifest, index: Index) -> None:
        self.manifest, self.index = manifest, index
        self._columns: dict[str, NDArray[np.int64]] = {}

    @property
    def reader(self) -> Reader | None:
        """That of the data set; None for a reader of somebody's own: a view does not run its code."""
        return find_reader(self.manifest.dataset) if self.manifest.dataset in DATASETS else None

    @property
    def _fields(self) -> dict[str, str]:
        """Fact -> field of the clips' names."""
        pattern = self.reader.name_pattern if self.reader is not None else None
        return {fact_of(field): field for field in pattern.groupindex} if pattern is not None else {}

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the columns that there are."""
        return (*self._fields, *_OF_INDEX)

    def column(self, fact: str) -> NDArray[np.int64]:
        """One column; `ABSENT` where a clip's name does not have the number, or its label is hidden.

        Raises:
            ValueError: there is no such fact.
        """
        if fact not in self.known:
            near = difflib.get_close_matches(fact, self.known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(self.known)
            raise ValueError(f"clips of {self.manifest.dataset} have {known}, got {brief(fact)}{hint}")
        if fact not in self._columns:
            if fact in _OF_INDEX:
                self._columns[fact] = getattr(self.index, fact).astype(np.int64)
            else:
                self._read_names()
        return self._columns[fact]

    def _read_names(self) -> None:
        reader = self.reader
        assert reader is not None  # else no fact of a name is known
        keys, fields = self.index.keys, self._fields
        table = np.full((len(fields), len(keys)), ABSENT, np.int64)
        for start in range(0, len(keys), _ROWS):
            for row, key in enumerate(keys[start : start + _ROWS].tolist(), start):
                if values := reader.name_fields(key.decode()):
                    table[:, row] = [values.get(field, ABSENT) for field in fields.values()]
        self._columns |= dict(zip(fields, table, strict=True))
