"""What happens on import: the stand-in where the wheel lacks a folder, and only there."""

import subprocess
import sys
from pathlib import Path

import mmaction
import pytest

from epam_model.mmaction.missing_module import add_missing_drn

FOLDER = Path(mmaction.__file__).parent / "models" / "localizers" / "drn"


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(FOLDER.is_dir(), reason="this MMAction2 has the folder")
def test_the_plug_in_makes_the_models_importable():
    bare = run("import mmaction.models")
    assert bare.returncode == 1 and "localizers.drn" in bare.stderr
    mended = run("import epam_model.mmaction, mmaction.models; from mmaction.models.localizers import DRN; print(DRN)")
    assert mended.returncode == 0 and mended.stdout.strip() == "None"


def test_nothing_stands_in_where_the_folder_is(tmp_path, monkeypatch):
    name = "mmaction.models.localizers.drn"
    for module in (name, f"{name}.drn"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    whole = tmp_path / "mmaction"
    (whole / "models" / "localizers" / "drn").mkdir(parents=True)
    monkeypatch.setattr(mmaction.__spec__, "origin", str(whole / "__init__.py"))
    add_missing_drn()
    assert name not in sys.modules


def test_without_mmaction2_it_says_so(monkeypatch):
    monkeypatch.setattr("epam_model.mmaction.missing_module.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'mmaction'"):
        add_missing_drn()
