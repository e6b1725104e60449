"""Readers: raw files -> clips. Each data set has a module here of the same name, which defines its `READER`.

To read your own data set, define a `Reader` in your own module and name it in the recipe as
`dataset: my_module:MY_READER` (see `find_reader`; examples/own_dataset.py is a complete example).
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from epam_data.readers.annotations import RawSettings
from epam_data.readers.names import key_from_name
from epam_data.readers.reader import Protocol, Reader
from epam_data.taxonomy import TAXONOMIES

__all__ = ["DATASETS", "Protocol", "RawSettings", "Reader", "find_reader", "key_from_name", "reader_module"]

DATASETS = tuple(TAXONOMIES)
"""The built-in data sets: those with a table of classes. `NAME.py` in this folder reads the data set NAME."""


def find_reader(dataset: str) -> Reader:
    """The reader of a data set: one of `DATASETS` by name, or your own as `module:NAME`.

    The module is searched on Python's path and in the current folder. The process that starts a build imports it; its
    workers do not.

    Raises:
        ValueError: unknown name or module, the import fails, or the object is not a `Reader`.
    """
    if dataset in DATASETS:
        known: Reader = import_module(f"{__name__}.{dataset}").READER
        return known
    module, colon, name = dataset.partition(":")
    if not (module and colon and name):
        allowed = f"{', '.join(DATASETS)}, or module:NAME of a reader of your own"
        raise ValueError(f"dataset must be one of {allowed}, got {dataset!r}")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script has its own folder there, not the current one
        sys.path.append(here)
    try:
        reader = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"dataset {dataset!r}: {module} cannot be imported ({error})") from error
    if not isinstance(reader, Reader):
        raise ValueError(f"dataset {dataset!r}: {module} must define a Reader {name}, got {type(reader).__name__}")
    return reader


def reader_module(dataset: str) -> Path | None:
    """The source file of a custom reader that `find_reader` has loaded; None for `DATASETS`."""
    if dataset in DATASETS:
        return None
    file = sys.modules[dataset.partition(":")[0]].__file__
    return Path(file) if file else None
