"""Nothing grows unnoticed: files of 300 lines, functions of 60, six lines that stand twice, unless for a reason."""

import ast
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for package in ("epam_data", "epam_model") for path in (ROOT / package).rglob("*.py"))
FILE_LINES, FUNCTION_LINES, SAME_LINES = 300, 60, 6

LONG_FILES: dict[str, str] = {}  # path: why it is one file
LONG_FUNCTIONS: dict[str, str] = {}  # path:function: why it is one function
TWICE = {  # the two files (or the one) in which the lines stand: why
    ("epam_model/losses/prototype.py",): "the coarse and the fine loss, each to be read beside its equation",
}


def test_no_folder_of_tests_is_left_out(pytestconfig: pytest.Config) -> None:
    """pytest skips folders by their names, `build` among them unless it is told otherwise."""
    patterns = pytestconfig.getini("norecursedirs")
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    names = {part for folder in folders for part in folder.relative_to(ROOT).parts}
    assert "build" in names and not [each for each in names if any(fnmatch(each, pattern) for pattern in patterns)]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of(node: ast.AST) -> set[int]:
    return set(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]


def is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def long_functions(path: Path) -> list[str]:
    """Docstrings do not count: a function is long by what it does."""
    found = []
    for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        docstring = lines_of(function.body[0]) if is_docstring(function.body[0]) else set()
        if len(lines_of(function) - docstring) > FUNCTION_LINES:
            found.append(f"{name(path)}:{function.name}")
    return found


def statements(path: Path) -> list[str]:
    """The lines of a file without what may well stand twice: imports, docstrings, comments, signatures."""
    text = path.read_text(encoding="utf-8")
    tree, passed_over = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or is_docstring(node):
            passed_over |= lines_of(node)
    for function in functions(tree):
        passed_over |= set(range(function.lineno, function.body[0].lineno))
    lines = [line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in passed_over]
    return [line for line in lines if line and not line.startswith("#")]


def repeated(texts: dict[str, list[str]]) -> dict[tuple[str, ...], str]:
    """For the files that share six lines: the lines, once for each set of files."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, lines in texts.items():
        for start in range(len(lines) - SAME_LINES + 1):
            places["\n".join(lines[start : start + SAME_LINES])].append(file)
    return {tuple(sorted(set(files))): lines for lines, files in places.items() if len(files) > 1}


def test_no_file_is_long_without_a_reason() -> None:
    long = {name(path) for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > FILE_LINES}
    assert long == LONG_FILES.keys(), "split them, or give the reason in LONG_FILES; a reason without a file goes"


def test_no_function_is_long_without_a_reason() -> None:
    assert {each for path in SOURCES for each in long_functions(path)} == LONG_FUNCTIONS.keys()


def test_no_six_lines_stand_twice_without_a_reason() -> None:
    found = repeated({name(path): statements(path) for path in SOURCES})
    assert {files: found[files] for files in found.keys() - TWICE.keys()} == {}
    assert found.keys() >= TWICE.keys(), "a reason without its lines: delete it"


def test_the_counting_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    body = "".join(f"    x = {number}\n" for number in range(FUNCTION_LINES))
    path = tmp_path / "grown.py"
    path.write_text(
        f'import os\n\n\ndef short():\n    """One.\n\n    Two.\n    """\n{body[:-11]}\n\n\ndef long():\n{body}'
    )
    assert long_functions(path) == ["grown.py:long"]
    six = [f"x = {number}" for number in range(SAME_LINES)]
    assert repeated({"a": six, "b": ["y = 1", *six], "c": six[1:]}) == {("a", "b"): "\n".join(six)}
    assert list(repeated({"a": six + six})) == [("a",)]
    assert "import os" not in statements(path) and "def long():" not in statements(path)
