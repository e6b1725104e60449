import json
import shutil
from pathlib import Path

import pytest

from epam_data.cli import main


def test_inspect_draws_a_clip(ma52_shards: Path, tmp_path: Path, capsys):
    shard = str(ma52_shards / "val-000000.tar")
    assert main(["inspect", shard]) == 0
    key = capsys.readouterr().out.splitlines()[2].split()[0]
    files = [str(tmp_path / "clip.mp4"), str(tmp_path / "clip.png")]
    assert main(["inspect", shard, key, "--video", files[0], "--png", files[1]]) == 0
    out = capsys.readouterr().out
    assert f"picture: {files[1]}\nvideo: {files[0]}\n" in out and "\x1b" not in out  # no terminal: no picture in it
    assert all(Path(name).stat().st_size > 1000 for name in files)


@pytest.mark.parametrize("option", ["--png", "--video"])
def test_a_picture_needs_a_key(option: str, ma52_shards: Path, capsys):
    assert main(["inspect", str(ma52_shards), option, "clip.mp4"]) == 2
    assert f"{option} needs a KEY, the clip to draw" in capsys.readouterr().err


def test_texts_of_a_manifest_move_no_cursor(
    ntu60_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    values = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**values, "dataset": "\x1b[2J\u202e", "protocol": "\n\x07"}))
    assert main(["inspect", str(root)]) == 0
    out = capsys.readouterr().out
    assert r"\x1b[2J\u202e \n\x07" in out and out.replace("\n", "").isprintable()
    (root / "manifest.json").write_text(json.dumps({**values, "skeleton": "\x1b[2J", "limbs": None}))
    assert main(["inspect", str(root)]) == 2
    err = capsys.readouterr().err
    assert r"\x1b[2J" in err and err.replace("\n", "").isprintable()
