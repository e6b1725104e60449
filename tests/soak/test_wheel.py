"""A released wheel, away from the repository: made through the sdist, installed elsewhere, the whole way run there."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.test_end_to_end import RECIPE

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
DATA = {
    "epam_data/py.typed",
    "epam_data/tables/ntu60.yaml",
    "epam_data/tables/ntu60_missing_skeletons.txt",
    "epam_data/templates/report.html.j2",
    "epam_model/py.typed",
}


def run(*command: str | Path, cwd: Path) -> str:
    """What a command says; without anything of ours in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("epam_data", "epam_model"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source, cwd=folder)
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    # A folder named by a .pth is searched last, and its own .pth files, those of editable installs, are not read.
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return python.parent


def test_the_wheel_holds_the_packages_and_their_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= DATA
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"epam_data", "epam_model"}


def test_the_whole_way_from_elsewhere(installed: Path, tmp_path: Path) -> None:
    code = "import epam_data, epam_model; print(epam_data.__file__, epam_model.__file__)"
    for place in run(installed / "python", "-c", code, cwd=tmp_path).split():
        assert Path(place).is_relative_to(installed.parent), place
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(raw="raw"))
    data, model = installed / "epam-data", installed / "epam-model"
    run(data, "synth", "tiny.yaml", "--out", "raw", "--workers", "0", cwd=tmp_path)
    run(data, "build", "tiny.yaml", "--out", "shards", "--workers", "2", cwd=tmp_path)
    said = run(data, "check", "shards", "--workers", "0", "--report", "report", cwd=tmp_path)
    assert "0 problems in 12 clips" in said and (tmp_path / "report" / "index.html").exists()
    one_step = ("--stream.batch_size", "6", "--shards", "shards", "--out", "run")
    run(model, "train", "tiny.yaml", *one_step, cwd=tmp_path)
    assert (tmp_path / "run" / "best.pt").exists()
