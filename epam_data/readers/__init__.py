"""Readers: raw files -> clips, one function per data set.

A data set of one's own needs no change here: a module of one's own holds a `Reader`, and recipes name it as
`dataset: my_module:MY_READER` (see `find_reader`, and examples/own_dataset/ for a whole one).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from epam_data.readers.annotations import RawSettings, skeleton_files
from epam_data.readers.ma52 import read_ma52
from epam_data.readers.ntu60 import read_ntu60, read_synthetic
from epam_data.schema import Clip, Problem
from epam_data.skeleton import LAYOUTS
from epam_data.taxonomy import TAXONOMIES, Taxonomy

__all__ = ["READERS", "RawSettings", "Reader", "find_reader", "reader_module"]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How to read one data set, and what its joints and classes are called."""

    read: Callable[[RawSettings], Iterator[Clip | Problem]]
    skeleton: str  # in epam_data.skeleton.LAYOUTS
    taxonomy: Taxonomy
    files: Callable[[RawSettings], list[Path]] = skeleton_files
    """The files that `read` reads: when one of them changes, a build does not go on with what it read before."""

    def __post_init__(self) -> None:
        if self.skeleton not in LAYOUTS:
            raise ValueError(f"skeleton must be one of {', '.join(LAYOUTS)}, got {self.skeleton!r}")


READERS = {
    "ntu60": Reader(read=read_ntu60, skeleton="coco17", taxonomy=TAXONOMIES["ntu60"]),
    "ma52": Reader(read=read_ma52, skeleton="ma52_28", taxonomy=TAXONOMIES["ma52"]),
    "synthetic": Reader(read=read_synthetic, skeleton="coco17", taxonomy=TAXONOMIES["synthetic"]),
}


def find_reader(dataset: str) -> Reader:
    """The reader of a data set: of `READERS` by its name, or one's own as `module:NAME`.

    The module is looked for where Python looks, and in the current folder. The process that begins a
    build imports it; its workers need not.

    Raises:
        ValueError: there is no such name or module, its import fails, or what the name stands for is no `Reader`.
    """
    if dataset in READERS:
        return READERS[dataset]
    module, colon, name = dataset.partition(":")
    if not (module and colon and name):
        allowed = f"{', '.join(READERS)}, or module:NAME of a reader of your own"
        raise ValueError(f"dataset must be one of {allowed}, got {dataset!r}")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script has the folder of the script there, not this one
        sys.path.append(here)
    try:
        reader = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"dataset {dataset!r}: {module} cannot be imported ({error})") from error
    if not isinstance(reader, Reader):
        raise ValueError(f"dataset {dataset!r}: {module} must hold a Reader {name}, got {type(reader).__name__}")
    return reader


def reader_module(dataset: str) -> Path | None:
    """The source file of a reader of one's own, loaded by `find_reader` before; None for those of `READERS`."""
    if dataset in READERS:
        return None
    file = sys.modules[dataset.partition(":")[0]].__file__
    return Path(file) if file else None
