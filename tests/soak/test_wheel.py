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
    "epam_data/pipelines/ntu60_xsub.yaml",
    "epam_data/pipelines/slurm/build.sbatch",
    "epam_data/pipelines/mmaction2/_base_/two_streams.py",
}


def run(*command: str | Path, cwd: Path) -> str:
    """What a command says; without anything of ours in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release is made from."""
    folder = tmp_path_factory.mktemp("release") / "source"
    folder.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("epam_data", "epam_model", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", source.parent / "dist", source, cwd=source.parent)
    (found,) = (source.parent / "dist").glob("*.whl")
    return found


def install(folder: Path, *what: str | Path) -> Path:
    """The programs of an environment that holds `what`; its dependencies are those of this one."""
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    # A folder named by a .pth is searched last, and its own .pth files, those of editable installs, are not read.
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", *what, cwd=folder)
    return python.parent


def test_the_wheel_holds_the_packages_and_their_data(wheel: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= DATA
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"epam_data", "epam_model"}
    files = {f"epam_data/{path.relative_to(source)}" for path in (source / "pipelines").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("epam_data/pipelines/")} == files
    modules = {str(path.relative_to(source)) for package in packages for path in (source / package).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} - files == modules


def assert_it_lies_in(folder: Path, installed: Path, cwd: Path) -> None:
    """Both packages are those of `folder`, and the recipes are found from there."""
    code = "import epam_data, epam_model; print(epam_data.__file__, epam_model.__file__)"
    for place in run(installed / "python", "-c", code, cwd=cwd).split():
        assert Path(place).is_relative_to(folder), place
    few = ("--workers", "0", "--synth.train_clips", "6", "--synth.val_clips", "6")
    run(installed / "epam-data", "synth", "demo.yaml", "--out", "demo", *few, cwd=cwd)
    assert len(list((cwd / "demo" / "videos").iterdir())) == 12


def test_an_editable_install_finds_its_recipes(source: Path, tmp_path: Path) -> None:
    installed = install(tmp_path, "--no-build-isolation", "--editable", source)
    assert_it_lies_in(source, installed, tmp_path)


def test_the_whole_way_from_elsewhere(wheel: Path, tmp_path: Path) -> None:
    installed = install(tmp_path, wheel)
    assert_it_lies_in(tmp_path / "env", installed, tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(raw="raw"))
    data, model = installed / "epam-data", installed / "epam-model"
    run(data, "synth", "tiny.yaml", "--out", "raw", "--workers", "0", cwd=tmp_path)
    run(data, "build", "tiny.yaml", "--out", "shards", "--workers", "2", cwd=tmp_path)
    said = run(data, "check", "shards", "--workers", "0", "--report", "report", cwd=tmp_path)
    assert "0 problems in 12 clips" in said and (tmp_path / "report" / "index.html").exists()
    one_step = ("--stream.batch_size", "6", "--shards", "shards", "--out", "run")
    run(model, "train", "tiny.yaml", *one_step, cwd=tmp_path)
    assert (tmp_path / "run" / "best.pt").exists()
