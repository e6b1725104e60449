"""The documents build without a warning: no broken link, no docstring that the generator cannot read."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(out / "doctrees"), str(source)]
    return subprocess.run([*command, str(out / "html")], capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_documents_build_strictly(tmp_path: Path) -> None:
    result = build(ROOT / "docs", tmp_path)
    assert result.returncode == 0, result.stderr
    pages = {path.stem for path in (tmp_path / "html").glob("*.html")}
    assert pages >= {path.stem for suffix in ("md", "rst") for path in (ROOT / "docs").glob(f"*.{suffix}")}
    assert "epam_model.networks.epam.EPAMBackbone" in (tmp_path / "html" / "api.html").read_text()


def test_a_broken_link_fails(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text((ROOT / "docs" / "conf.py").read_text().replace("parents[1]", "parents[0]"))
    (source / "index.md").write_text("# Index\n\n[nowhere](nowhere.md)\n")
    result = build(source, tmp_path)
    assert result.returncode != 0 and "nowhere" in result.stderr
