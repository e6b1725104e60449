"""A command imports what it needs, so that it starts at once: held by what is in `sys.modules`, not by a clock."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARDS = str(ROOT / "tests" / "data" / "shards" / "schema_1")

TORCH = {"torch", "tensorboard"}
REPORTS = {"jinja2", "matplotlib"}
DECODERS = {"av", "decord", "numba", "scipy", "PIL", "webdataset"}
NUMERIC = {"numpy", "h5py", "pydantic", "yaml", "fsspec"}
EVERYTHING = TORCH | REPORTS | DECODERS | NUMERIC

RUN = """
import sys
from {cli} import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
loaded = {{name.partition(".")[0] for name in sys.modules}}
print("\\nloaded", *sorted(loaded))
sys.exit(code)
"""


def loaded_by(cli: str, *words: str) -> set[str]:
    """The packages that a command imports."""
    command = [sys.executable, "-c", RUN.format(cli=cli), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, *loaded = done.stdout.splitlines()[-1].split()
    assert name == "loaded" and "epam_data" in loaded
    return set(loaded)


@pytest.mark.parametrize(
    ("cli", "words", "forbidden"),
    [
        ("epam_data.cli", ["--help"], EVERYTHING),
        ("epam_data.cli", ["status", "--help"], TORCH | REPORTS | DECODERS | {"h5py", "yaml", "fsspec"}),
        ("epam_data.cli", ["inspect", SHARDS], TORCH | REPORTS | DECODERS | {"yaml", "fsspec"}),
        ("epam_data.cli", ["build", "--help"], TORCH | REPORTS),
        ("epam_data.cli", ["check", SHARDS, "--workers", "0"], TORCH | REPORTS),
        ("epam_model.cli", ["--help"], EVERYTHING),
        ("epam_model.cli", ["train", "--help"], EVERYTHING),
        ("epam_model.cli", ["doctor"], TORCH | REPORTS | DECODERS | {"h5py"}),
        ("epam_model.cli", ["test", "--help"], REPORTS),
    ],
    ids=lambda value: " ".join(value).replace(SHARDS, "SHARDS") if isinstance(value, list) else None,
)
def test_a_command_loads_nothing_that_it_does_not_need(cli: str, words: list[str], forbidden: set[str]) -> None:
    assert not loaded_by(cli, *words) & forbidden


def test_status_loads_nothing_that_builds(tmp_path: Path) -> None:
    work = tmp_path / ".build"
    work.mkdir()
    (work / "tasks.json").write_text("{}")
    loaded = loaded_by("epam_data.cli", "status", str(tmp_path))
    assert not loaded & (TORCH | REPORTS | DECODERS | {"numpy", "h5py", "yaml", "fsspec", "asyncio"})


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import epam_data, epam_model", EVERYTHING),
        ("from epam_data import Clip", EVERYTHING - {"numpy"}),
        ("from epam_data.stream import StreamSettings", EVERYTHING),
        ("from epam_model.commands.train import TrainCommand", EVERYTHING),
    ],
)
def test_an_import_loads_nothing_that_it_does_not_need(code: str, forbidden: set[str]) -> None:
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & forbidden
