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
_SYNONYMS = {"person": "subject"}


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
    def known(self) -> tuple[str, ...]:
        """Names of the columns that there are."""
        pattern = self.reader.name_pattern if self.reader is not None else None
        fields = list(pattern.groupindex) if pattern is not None else []
        in_names = [next((new for new, old in _SYNONYMS.items() if old == name), name) for name in fields]
        return (*in_names, *_OF_INDEX)

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
        keys, names = self.index.keys, [name for name in self.known if name not in _OF_INDEX]
        table = np.full((len(names), len(keys)), ABSENT, np.int64)
        for start in range(0, len(keys), _ROWS):
            for row, key in enumerate(keys[start : start + _ROWS].tolist(), start):
                fields = reader.name_fields(key.decode())
                if fields:
                    table[:, row] = [fields.get(_SYNONYMS.get(name, name), ABSENT) for name in names]
        self._columns |= dict(zip(names, table, strict=True))
