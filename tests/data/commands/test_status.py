import json
from pathlib import Path

from epam_data.cli import main


def test_status(arguments: list[str], tmp_path: Path, capsys):
    out = str(tmp_path / "out")
    assert main(["build", *arguments, "--out", out, "--part", "0/2"]) == 0
    assert "part 0/2 is built; after all parts: epam-data finalise" in capsys.readouterr().out
    assert main(["status", out]) == 0
    assert f"{out}: interrupted" in capsys.readouterr().out
    assert main(["status", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_shards_done"] == 2
