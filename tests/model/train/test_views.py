"""A run on a view: it trains and measures on its clips, resumes on the same ones only, and a test of others is told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from epam_data.shards.manifest import load_manifest
from epam_data.stream import Stream, StreamSettings
from epam_model.cli import main
from epam_model.evaluate.restore import warn_of_another_view
from epam_model.weights.checkpoint import Checkpoint, load_checkpoint
from tests.model.tiny import STREAM, tiny_trainer


def view(path: Path, train: range, val: range) -> StreamSettings:
    """Training clips as both train and val, as a fold has them."""
    names = {split: [f"train-{number}" for number in numbers] for split, numbers in (("train", train), ("val", val))}
    path.write_text(json.dumps({"names": names}))
    return replace(STREAM, view=str(path))


def test_a_run_resumes_on_the_clips_of_its_view(shards: Path, tmp_path: Path) -> None:
    stream = view(tmp_path / "view.yaml", range(10), range(10, 14))
    trainer = tiny_trainer(shards, tmp_path / "run", stream=stream, epochs=1)
    trainer.fit()
    assert trainer._train_stream.num_samples == 10 and trainer._val_stream.num_samples == 4
    checkpoint = load_checkpoint((tmp_path / "run" / "last.pt").resolve())
    assert checkpoint.shards["view_sha256"] == trainer._train_stream.view_sha256 != ""
    tiny_trainer(shards, tmp_path / "run", stream=stream, epochs=2).fit(resume=True)
    view(tmp_path / "view.yaml", range(9), range(9, 14))
    with pytest.raises(ValueError, match="cannot resume, the view has other clips or splits since"):
        tiny_trainer(shards, tmp_path / "run", stream=stream, epochs=3).fit(resume=True)
    with pytest.raises(ValueError, match="cannot resume, the view has other clips or splits since"):
        tiny_trainer(shards, tmp_path / "run", epochs=3).fit(resume=True)


def test_labels_are_shuffled_within_the_view(shards: Path, tmp_path: Path) -> None:
    stream = view(tmp_path / "view.yaml", range(10), range(10, 14))
    trainer = tiny_trainer(shards, tmp_path / "run", stream=stream, shuffle_labels=True)
    assert sorted(trainer._labels) == sorted(f"train-{number}" for number in range(10))


def test_a_test_on_another_view_is_told(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = Checkpoint(weights={}, optimizer={}, epoch=0, consumed=0, shards={}, recipe={})
    stream = Stream(shards, split="val", settings=view(tmp_path / "v.yaml", range(9), range(9, 14)), training=False)
    warn_of_another_view(checkpoint, "best.pt", stream)
    said = "best.pt was trained on another view of the shards: clips of its training may be in val"
    assert [record.getMessage() for record in caplog.records] == [said]
    caplog.clear()
    of_this = replace(checkpoint, shards={"view_sha256": stream.view_sha256})
    warn_of_another_view(of_this, "best.pt", stream)
    assert not caplog.records


def test_a_network_has_the_classes_of_the_view(shards: Path, tmp_path: Path) -> None:
    """By the command line: as many scores as classes, and the checkpoint fits shards in this view only."""
    manifest = load_manifest(shards)
    merged = dict.fromkeys(manifest.classes[:6], "moving") | dict.fromkeys(manifest.classes[1:3], "resting")
    (tmp_path / "view.yaml").write_text(json.dumps({"class_map": merged}))
    (tmp_path / "tiny.yaml").write_text(
        "stream: {batch_size: 7, rgb_frames: 2, pose_frames: 4, workers: 0}\n"
        "train: {epochs: 1, warmup_epochs: 0.5, device: cpu, num_threads: 1}\n"
    )
    words = [str(tmp_path / "tiny.yaml"), "--shards", str(shards), "--stream.view", str(tmp_path / "view.yaml")]
    assert main(["train", *words, "--out", str(tmp_path / "run"), "--report", "false"]) == 0
    best = load_checkpoint(tmp_path / "run" / "best.pt")
    expected = ["moving", "resting", *manifest.classes[6:]]
    assert best.shards["classes"] == expected
    assert main(["test", *words, "--checkpoint", str(tmp_path / "run" / "best.pt")]) == 0
    assert main(["test", *words[:3], "--checkpoint", str(tmp_path / "run" / "best.pt")]) == 2
