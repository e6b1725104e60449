import json
import shutil
from pathlib import Path

import pytest

from epam_data.cli import main

RECIPE = """\
dataset: ntu60
raw: {protocol: xsub}
prepare: {rgb_size_px: 64, heatmap_size_px: 16}
shard: {samples_per_shard: 8}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def raw_arguments(raw: Path) -> list[str]:
    return ["--raw.videos", str(raw / "videos"), "--raw.skeletons", str(raw / "skeletons.pkl")]


def test_build_check_inspect(ntu60_raw: Path, recipe: str, tmp_path: Path, capsys):
    out = tmp_path / "shards"
    build = ["build", recipe, *raw_arguments(ntu60_raw), "--out", str(out), "--workers", "0"]
    assert main(build) == 0
    captured = capsys.readouterr()
    assert "19 clips in 3 shards (0 reused)" in captured.out
    assert "build: 19/19 clips" in captured.err  # plain lines: stderr is no terminal here
    assert main(build) == 0
    assert "(3 reused)" in capsys.readouterr().out

    report = tmp_path / "report"
    assert main(["check", str(out), "--report", str(report), "--workers", "0"]) == 0
    assert "0 problems in 19 clips" in capsys.readouterr().out
    assert "No problem found" in (report / "index.html").read_text()
    assert main(["check", str(out), "--json", "--workers", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []

    assert main(["inspect", str(out)]) == 0
    assert "ntu60 xsub" in capsys.readouterr().out
    assert main(["inspect", str(out), "S001C001P000R001A001", "--png", str(tmp_path / "clip.png")]) == 0
    assert "heatmap    (20, 17, 16, 16) uint8" in capsys.readouterr().out
    assert (tmp_path / "clip.png").stat().st_size > 1000


def test_a_clip_that_fails_is_said_and_counts(ntu60_raw: Path, recipe: str, tmp_path: Path, capsys):
    raw = Path(shutil.copytree(ntu60_raw, tmp_path / "raw"))
    (raw / "videos" / "S001C001P003R001A004_rgb.avi").unlink()
    build = ["build", recipe, *raw_arguments(raw), "--out", str(tmp_path / "shards"), "--workers", "0"]
    assert main(build) == 1
    captured = capsys.readouterr()
    assert "18 clips in 3 shards" in captured.out
    assert "skipped: S001C001P003R001A004: no video found" in captured.err
    assert main([*build, "--max_failures", "1"]) == 0


def test_findings_give_exit_code_1(ntu60_shards: Path, tmp_path: Path, capsys):
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    (root / "val-000001.tar").unlink()
    assert main(["check", str(root), "--workers", "0", "--report", str(tmp_path / "report")]) == 1
    assert "val-000001: the shard is missing" in capsys.readouterr().out
    assert "the shard is missing" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check", "nowhere"], "nowhere: no manifest.json found"),
        (["inspect", "{shards}", "--png", "clip.png"], "--png needs a KEY, the clip to draw"),
        (["check", "{shards}", "--workers", "-1"], "workers must be in 0..100000, got -1"),
        (["inspect", "{shards}", "nobody"], "no clip 'nobody' among 19"),
        (["build", "--dataset", "ucf", "--raw.videos", ".", "--raw.skeletons", "x", "--out", "o"], "got 'ucf'"),
        (["build", "--prepare.sigma", "1"], "unknown key 'prepare.sigma'; did you mean 'prepare.sigma_px'?"),
        (
            ["synth", "--out", "o", "--synth.val_clips", "5"],
            "val_clips must be a multiple of 6 and in 6..1000000, got 5",
        ),
    ],
)
def test_unusable_input_gives_exit_code_2_and_one_clear_line(argv, message, ntu60_shards: Path, capsys):
    assert main([word.format(shards=ntu60_shards) for word in argv]) == 2
    assert message in capsys.readouterr().err
