"""Readers: raw files -> clips. Each data set has a file here, named like it, that holds its `READER`.

A data set of one's own needs no change here: a module of one's own holds a `Reader`, and recipes name it as
`dataset: my_module:MY_READER` (see `find_reader`; examples/own_dataset.py is a whole one).
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from epam_data.readers.annotations import RawSettings
from epam_data.readers.reader import Protocol, Reader
from epam_data.taxonomy import TAXONOMIES

__all__ = ["DATASETS", "Protocol", "RawSettings", "Reader", "find_reader", "reader_module"]

DATASETS = tuple(TAXONOMIES)
"""The data sets of this package: those with a table of classes. `NAME.py` in this folder reads the data set NAME."""


def find_reader(dataset: str) -> Reader:
    """The reader of a data set: one of `DATASETS` by its name, or one's own as `module:NAME`.

    The module is looked for where Python looks, and in the current folder. The process that begins a
    build imports it; its workers need not.

    Raises:
        ValueError: there is no such name or module, its import fails, or what the name stands for is no `Reader`.
    """
    if dataset in DATASETS:
        known: Reader = import_module(f"{__name__}.{dataset}").READER
        return known
    module, colon, name = dataset.partition(":")
    if not (module and colon and name):
        allowed = f"{', '.join(DATASETS)}, or module:NAME of a reader of your own"
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
    """The source file of a reader of one's own, loaded by `find_reader` before; None for `DATASETS`."""
    if dataset in DATASETS:
        return None
    file = sys.modules[dataset.partition(":")[0]].__file__
    return Path(file) if file else None
