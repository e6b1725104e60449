import json
from pathlib import Path

from epam_data.cli import main


def test_a_pilot(arguments: list[str], tmp_path: Path, capsys):
    assert main(["pilot", *arguments, "--pilot.clips", "4", "--pilot.compared_clips", "1"]) == 0
    assert "built 4 of 4 random clips" in capsys.readouterr().out
    kept = tmp_path / "kept"
    assert main(["pilot", *arguments, "--pilot.clips", "4", "--json", "--out", str(kept)]) == 0
    assert json.loads(capsys.readouterr().out)["num_built"] == 4
    assert main(["inspect", str(kept)]) == 0
    assert main(["pilot", *arguments, "--raw.videos", str(tmp_path), "--pilot.clips", "4"]) == 2  # no videos there
    assert "built 0 of 4 random clips" in capsys.readouterr().out
