"""The wheel of MMAction2 1.2 lacks a folder that `mmaction.models` imports."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_FOLDER = "mmaction.models.localizers.drn"


def add_missing_drn() -> None:
    """Add empty modules in place of the localiser DRN, unless its folder exists.

    Raises:
        ModuleNotFoundError: MMAction2 is not installed.
    """
    package = find_spec("mmaction")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'mmaction'", name="mmaction")
    folder = Path(package.origin).parent.joinpath(*_FOLDER.split(".")[1:])  # importing it would fail
    if folder.is_dir() or _FOLDER in sys.modules:
        return
    parent, module = ModuleType(_FOLDER), ModuleType(f"{_FOLDER}.drn")
    parent.__path__ = []
    module.DRN = None  # type: ignore[attr-defined]  # the only name that is imported from it
    sys.modules[_FOLDER], sys.modules[f"{_FOLDER}.drn"] = parent, module
