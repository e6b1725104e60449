"""The oldest versions that pyproject.toml allows, in an environment of their own; and known holes of those installed.

torch is not at its floor: its old versions are not built for new Pythons. The one that constraints.txt names is taken.
"""

import json
import re
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
TESTERS = ("pytest", "hypothesis", "setuptools")

SHORT = (
    "tests/data/samples/test_colours.py",
    "tests/data/samples/test_video.py",
    "tests/data/shards/test_index_file.py",
)
FULL = (
    "tests/data/samples",
    "tests/data/shards",
    "tests/data/readers",
    "tests/data/build/test_build_shard.py",
    "tests/data/test_recipe.py",
    "tests/data/show",
)
"""What depends on a library most: decoding, index, codecs, recipes, pictures."""

NOT_AT_FLOORS = "tests/data/shards/test_index_file.py::test_an_index_of_our_own_needs_no_hdf5"
"""The HDF5 of h5py 3.15 writes another structure than that of 3.16: readers parse it in a process of its own."""

_NO_INDEX = re.compile(r"connection|resolve|timed? ?out|no matching distribution|unreachable|proxy|403", re.IGNORECASE)


def floors() -> list[str]:
    """The default dependencies, each at its floor."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    pinned = []
    for dependency in dependencies:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(;.*)?", dependency)
        assert match, f"{dependency}: expected NAME>=VERSION, so that its floor can be tested"
        name, floor, marker = match.groups()
        pinned.append(_torch() if name == "torch" else f"{name}=={floor}{marker or ''}")
    return pinned


def _torch() -> str:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1][:200]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with every default dependency at its floor, and this package."""
    folder = tmp_path_factory.mktemp("floors")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    for step in (
        ["--upgrade", "pip"],
        [*floors(), *TESTERS],
        ["--no-deps", "--no-build-isolation", "--editable", ROOT],
    ):
        done = run(python, "-m", "pip", "install", "--quiet", *step, cwd=folder)
        if done.returncode and _NO_INDEX.search(done.stderr) and "conflict" not in done.stderr:
            pytest.skip(f"the package index has no answer: {last_line(done.stderr)}")
        assert done.returncode == 0, done.stderr
    return python


def test_every_dependency_has_a_floor() -> None:
    names = [floor.partition("==")[0] for floor in floors()]
    assert {"av", "h5py", "numpy", "pillow"} <= set(names)
    assert len(names) == len(set(names))


def test_the_floors_fit_each_other_and_pass(oldest: Path, full: bool) -> None:
    listed = run(oldest, "-m", "pip", "list", "--format=freeze", cwd=ROOT).stdout.lower()
    floor = next(each for each in floors() if each.startswith("av=="))
    assert re.search(rf"^{re.escape(floor)}(\.0)*$", listed, re.MULTILINE), listed
    tests = FULL if full else SHORT
    done = run(
        oldest,
        "-m",
        "pytest",
        "-q",
        "-m",
        "not soak",
        "-p",
        "no:cacheprovider",
        "--deselect",
        NOT_AT_FLOORS,
        *tests,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pip-audit` in an environment of its own."""
    folder = tmp_path_factory.mktemp("audit")
    venv.create(folder, with_pip=True)
    done = run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "pip-audit", cwd=folder)
    if done.returncode:
        pytest.skip(f"pip-audit cannot be installed: {last_line(done.stderr)}")
    return folder / "bin" / "pip-audit"


def audit(auditor: Path, *what: str | Path) -> list[dict[str, Any]]:
    """What is known of each package; skips the test where there is no answer."""
    done = run(auditor, "--format", "json", "--progress-spinner", "off", *what, cwd=auditor.parent)
    if not done.stdout.startswith("{"):
        pytest.skip(f"pip-audit has no answer: {last_line(done.stderr)}")
    packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return packages


def test_no_installed_package_has_a_known_hole(auditor: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(f"numpy=={version('numpy')}\n")
    (one,) = audit(auditor, "--no-deps", "--disable-pip", "--requirement", tmp_path / "one.txt")
    if "skip_reason" in one:  # a mirror that knows no holes: the others need not be asked for
        pytest.skip(f"the package index knows no holes: {one['skip_reason']}")
    (site,) = {path for path in sys.path if path.endswith("site-packages")}
    found = audit(auditor, "--skip-editable", "--path", site)
    holes = [f"{each['name']} {each['version']}: {hole['id']}" for each in found for hole in each.get("vulns", ())]
    assert not holes, holes
