"""What a run says of damaged samples that it went on without."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from epam_data.stream import Stream
from epam_data.stream.damage import Damage
from epam_model.cli import main
from epam_model.evaluate.damage_report import MAX_LINES, all_damage, damage_report
from tests.model.tiny import STREAM, tiny_trainer

pytestmark = pytest.mark.usefixtures("one_thread")
SKIP = replace(STREAM, on_damage="skip")


@pytest.fixture
def damaged(shards: Path, tmp_path: Path) -> Path:
    """Without the second of three training shards (train-5 ... 9) and the second of evaluation (val-5, val-6)."""
    root = Path(shutil.copytree(shards, tmp_path / "shards"))
    for name in ("train-000001", "val-000001"):
        (root / f"{name}.tar").unlink()
    return root


def test_each_epoch_says_what_was_damaged(damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trainer = tiny_trainer(damaged, tmp_path / "run", stream=SKIP)
    measures = trainer.fit()
    lines = [line for line in (tmp_path / "run" / "train.log").read_text().splitlines() if line.startswith("damage: ")]
    for epoch in (0, 1):
        stream = Stream(damaged, split="train", settings=SKIP, training=True, seed=trainer.settings.seed)
        seen = [key for batch in stream.epoch(epoch) for key in batch.keys]
        assert len(seen) == 12 and len(stream.damage) >= 3
        assert lines.pop(0) == (
            f"damage: {len(stream.damage)} of 14 samples of train cannot be read; other samples replaced them"
        )
        for each in stream.damage:
            assert lines.pop(0) == (
                f"damage: train-000001.tar: {each.key}: {damaged / 'train-000001.tar'}: the manifest lists this shard, "
                f"but there is no such file; replaced by {each.stand_in}"
            )
            assert seen[each.position] == each.stand_in
        assert lines.pop(0) == "damage: 2 of 7 samples of val cannot be read; they were left out"
        assert [line.split(": ")[2] for line in (lines.pop(0), lines.pop(0))] == ["val-5", "val-6"]
    assert lines == []
    assert "damage: 2 of 7 samples of val cannot be read" in capsys.readouterr().out
    assert measures["num_samples"] == 5
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["num_samples"] for line in logged if line["part"] == "val"] == [5, 5]


def test_damage_is_an_error_by_default(damaged: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"^train-000001\.tar: train-\d: .*no such file$"):
        tiny_trainer(damaged, tmp_path / "run").fit()


def test_a_run_that_met_damage_goes_on_with_skip(shards: Path, damaged: Path, tmp_path: Path):
    """What a user does: the error, then --resume with stream.on_damage skip."""
    tiny_trainer(shards, tmp_path / "run", epochs=1).fit()
    with pytest.raises(ValueError, match="no such file"):
        tiny_trainer(damaged, tmp_path / "run", epochs=2).fit(resume=True)
    tiny_trainer(damaged, tmp_path / "run", epochs=2, stream=SKIP).fit(resume=True)
    log = (tmp_path / "run" / "train.log").read_text()
    assert "resume: stream.on_damage was raise, is now skip" in log
    assert "samples of train cannot be read" in log


def test_a_report_is_not_without_end(shards: Path):
    stream = Stream(shards, split="train", settings=SKIP, training=True)
    assert damage_report(stream) == []
    stream.damage = [
        Damage(position=position, shard="train-000001.tar", key=f"train-{position}", reason="gone", stand_in="train-0")
        for position in reversed(range(MAX_LINES + 7))
    ]
    lines = damage_report(stream)
    assert len(lines) == MAX_LINES + 2
    assert lines[1] == "damage: train-000001.tar: train-0: gone; replaced by train-0"
    assert lines[-1] == "damage: and 7 more; epam-data check lists them all"
    assert [each.position for each in all_damage(stream)] == list(range(MAX_LINES + 7))


@pytest.fixture
def recipe(damaged: Path, tmp_path: Path) -> Path:
    """A pose stream, trained for an epoch in spite of the damage."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "prepare: {rgb_size_px: 32, heatmap_size_px: 8}\n"
        "model: {streams: pose}\n"
        "stream: {batch_size: 4, rgb_frames: 2, pose_frames: 4, workers: 0, on_damage: skip}\n"
        "train: {epochs: 1, warmup_epochs: 0.5, device: cpu, num_threads: 1}\n"
    )
    assert main(["train", str(path), "--shards", str(damaged), "--out", str(tmp_path / "run")]) == 0
    return path


def test_commands_say_what_was_left_out(
    recipe: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    common = [str(recipe), "--shards", str(damaged), "--checkpoint", str(tmp_path / "run" / "last.pt")]
    capsys.readouterr()
    assert main(["test", *common, "--split", "val", "--json", str(tmp_path / "measures.json")]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("damage: 2 of 7 samples of val cannot be read; they were left out\n")
    assert "num_samples: 5" in said.out
    assert json.loads((tmp_path / "measures.json").read_text())["num_samples"] == 5
    assert main(["predict", *common, "--split", "val", "--out", str(tmp_path / "out.csv")]) == 0
    said = capsys.readouterr()
    assert "val-000001.tar: val-6: " in said.err and "5 clips of val" in said.out
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6
    submission = tmp_path / "submission.csv"
    assert main(["predict", *common, "--split", "val", "--submission", str(submission)]) == 2
    assert f"{submission}: a submission must have all 7 clips of val, 2 cannot be read" in capsys.readouterr().err
    assert main(["features", *common, "--split", "val", "--out", str(tmp_path / "features.h5")]) == 2
    assert "stream.on_damage must be raise for a row per clip, got skip" in capsys.readouterr().err
