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

    `module:NAME` imports the module, which runs its code, from Python's path; commands add the current folder to it
    only with `--allow-code-here`. The process that starts a build imports it; its workers do not.

    Raises:
        ValueError: unknown name or module, the import fails, or the object is not a `Reader`.
    """
    if dataset in DATASETS:
        known: Reader = import_module(f"{__name__}.{dataset}").READER
        return known
    module, colon, name = dataset.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        allowed = f"{', '.join(DATASETS)}, or module:NAME of a reader of your own"
        raise ValueError(f"dataset must be one of {allowed}, got {dataset!r}")
    try:
        reader = getattr(import_module(module), name, None)
    except ImportError as error:
        lies_here = Path(f"{module.partition('.')[0]}.py").is_file() or Path(module.partition(".")[0]).is_dir()
        hint = "; to run the code of that name in this folder, add --allow-code-here" if lies_here else ""
        raise ValueError(f"dataset {dataset!r}: {module} cannot be imported ({error}){hint}") from error
    if not isinstance(reader, Reader):
        raise ValueError(f"dataset {dataset!r}: {module} must define a Reader {name}, got {type(reader).__name__}")
    return reader


def reader_module(dataset: str) -> Path | None:
    """The source file of a custom reader that `find_reader` has loaded; None for `DATASETS`."""
    if dataset in DATASETS:
        return None
    file = sys.modules[dataset.partition(":")[0]].__file__
    return Path(file) if file else None
