"""Who may import whom: read from the source, and once from a running interpreter."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for package in ("epam_data", "epam_model") for path in (ROOT / package).rglob("*.py"))
FOREIGN = ("mmengine", "mmaction", "mmcv", "pyskl")


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function, by absolute name."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*above, *([node.module] if node.module else ())))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imports(path: Path, *packages: str) -> list[str]:
    return [name for name in imported_modules(path) if name.split(".")[0] in packages]


def lies_in(path: Path, folder: str) -> bool:
    return path.is_relative_to(ROOT / folder)


def test_there_is_something_to_check() -> None:
    assert {ROOT / "epam_data" / "schema.py", ROOT / "epam_model" / "networks" / "heads.py"} <= set(SOURCES)
    assert "torch" in set(imported_modules(ROOT / "epam_data" / "stream" / "device.py"))
    assert "epam_data.schema.Clip" in set(imported_modules(ROOT / "epam_data" / "samples" / "prepare.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_import_rules(path: Path) -> None:
    if lies_in(path, "epam_data"):
        assert imports(path, "epam_model") == [], "epam_data never imports epam_model"
    if lies_in(path, "epam_data") and not lies_in(path, "epam_data/stream"):
        foreign = imports(path, "torch", "torchvision", "torchmetrics", "tensorboard")
        assert foreign == [], "epam_data imports torch under epam_data/stream only"
    if not lies_in(path, "epam_model/mmaction"):
        assert imports(path, *FOREIGN) == [], "only epam_model/mmaction knows MMAction2"
    assert imports(path, "tests", "benchmarks", "pipelines") == []


def test_the_data_package_does_not_load_torch() -> None:
    """Workers of a build start without it: it costs two seconds and 200 MB each."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if lies_in(path, "epam_data") and not lies_in(path, "epam_data/stream") and path.stem != "__main__"
    ]
    assert "epam_data" in modules and "epam_data.build.build" in modules
    code = (
        f"import importlib, sys\nfor name in {modules!r}:\n    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
