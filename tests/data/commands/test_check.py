import contextlib
import json
import shutil
from pathlib import Path

import pytest

from epam_data.check.check import CheckSettings
from epam_data.cli import main
from epam_data.commands.check import CheckCommand
from tests.data.damage import change_bytes, rewrite_first, with_json


@pytest.fixture
def damaged(ma52_shards: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(ma52_shards, tmp_path / "shards"))
    rewrite_first(root, lambda members: with_json(members, label=52))
    return root


def test_the_short_forms_win_over_the_recipe():
    command = CheckCommand(shards=Path("s"), check=CheckSettings(sample=3, seed=5))
    assert command.settings == CheckSettings(sample=3, seed=5)
    command = CheckCommand(shards=Path("s"), check=CheckSettings(sample=3, seed=5), sample="1%", rgb=True)
    assert command.settings == CheckSettings(sample="1%", seed=5, rgb=True)


def test_clean_shards_give_exit_code_0(ma52_shards: Path, capsys):
    assert main(["check", str(ma52_shards), "--workers", "0", "--sample", "2", "--rgb"]) == 0
    out = capsys.readouterr().out
    assert "note: train: 4 clips, the published files have 11,250" in out
    assert "0 problems in 8 clips; 2 in depth, 2 with every frame decoded, largest heatmap error 0.001" in out


def test_problems_give_exit_code_1_and_are_named(damaged: Path, tmp_path: Path, capsys):
    assert main(["check", str(damaged), "--workers", "0", "--report", str(tmp_path / "report")]) == 1
    out = capsys.readouterr().out
    assert "train-000000: " in out and "json: byte 512: label must be in 0..51, got 52" in out
    assert "label must be in 0..51, got 52" in (tmp_path / "report" / "index.html").read_text()


def test_json_for_machines(damaged: Path, capsys):
    assert main(["check", str(damaged), "--workers", "0", "--json", "--sample", "50%"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["clean"], result["num_samples"], result["num_deep"], result["num_decoded"]) == (False, 8, 4, 0)
    assert result["num_findings"] == {"json": 2}
    first = result["findings"][0]
    assert (first["check"], first["shard"], first["member"], first["offset"]) == ("json", "train-000000", "json", 512)


def test_many_problems_are_cut_on_the_terminal(ma52_shards: Path, tmp_path: Path, capsys):
    root = Path(shutil.copytree(ma52_shards, tmp_path / "shards"))
    for path in root.glob("*.tar"):
        change_bytes(path, lambda data: data.__setitem__(slice(0, None), bytes(len(data))))
    assert main(["check", str(root), "--workers", "0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[20].startswith("... and ") and lines[20].endswith("more: --json or --report has all")


def test_what_cannot_be_checked_gives_exit_code_2(damaged: Path, capsys):
    (damaged / "manifest.json").write_text("{")
    assert main(["check", str(damaged)]) == 2
    assert "not JSON" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_refused_before_the_check(ma52_shards: Path, tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["check", str(tmp_path / "none"), "--report", str(folder)]) == 2  # not: "no manifest.json found"
        assert f"--report {folder}: must be a folder that can be written, got" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_findings_are_printed_though_the_report_fails(
    form: list[str], damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    def fails(*_: object) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr("epam_data.check.report.write_report", fails)
    with contextlib.suppress(OSError):
        main(["check", str(damaged), "--workers", "0", "--report", str(tmp_path / "report"), *form])
    assert "label must be in 0..51, got 52" in capsys.readouterr().out
