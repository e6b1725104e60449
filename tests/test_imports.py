"""What the contracts of import-linter (pyproject.toml) cannot hold: what only the repository has, and run time."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

SOURCES = sorted(path for package in ("epam_data", "epam_model") for path in (ROOT / package).rglob("*.py"))


def imported_packages(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_package_imports_nothing_that_only_the_repository_has(path: Path) -> None:
    assert not {"tests", "benchmarks", "pipelines", "examples"} & set(imported_packages(path))


def test_the_data_package_does_not_load_torch() -> None:
    """Workers of a build start without it: it costs two seconds and 200 MB each."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if path.is_relative_to(ROOT / "epam_data") and path.parent != ROOT / "epam_data" / "stream"
    ]
    assert "epam_data" in modules and "epam_data.build.build" in modules and "epam_data.stream.loading.cache" in modules
    code = (
        f"import importlib, sys\nfor name in {modules!r}:\n    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
