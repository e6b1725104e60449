import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from epam_data.shards.manifest import load_manifest
from epam_model.train.resume import check_can_resume
from epam_model.weights.checkpoint import (
    Checkpoint,
    check_same,
    check_same_clips,
    check_same_model,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_converted,
    save_state,
    shards_identity,
)
from epam_model.weights.weight_file import read_state_dict
from tests.model.tiny import TinyRecogniser

MODEL = {"streams": "both", "attention_type": "CBAM_spatial_efficient_temporal", "dropout": 0.5}


@pytest.fixture
def checkpoint(shards: Path) -> Checkpoint:
    model = TinyRecogniser()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(weight.sum() for weight in model.parameters()).backward()
    optimizer.step()
    return Checkpoint(
        weights=model.state_dict(),
        optimizer=optimizer.state_dict(),
        epoch=3,
        consumed=8,
        shards=shards_identity(load_manifest(shards)),
        recipe={"model": MODEL},
        best=0.25,
        measures={"top1_fused": 0.25},
    )


def test_what_is_saved_is_loaded(checkpoint: Checkpoint, tmp_path: Path):
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    for name in ("epoch", "consumed", "shards", "recipe", "best", "measures"):
        assert getattr(loaded, name) == getattr(checkpoint, name)
    for name, value in checkpoint.weights.items():
        assert torch.equal(loaded.weights[name], value)
    momentum = {number: state["momentum_buffer"] for number, state in checkpoint.optimizer["state"].items()}
    for number, value in momentum.items():
        assert torch.equal(loaded.optimizer["state"][number]["momentum_buffer"], value)


def test_a_save_that_fails_leaves_the_old_checkpoint(checkpoint: Checkpoint, tmp_path: Path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()

    def fail_half_way(values: object, file) -> None:
        file.write(b"half")
        raise OSError("disk full")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for owner, name, function, error in (
        (torch, "save", fail_half_way, OSError),
        (os, "fsync", killed, KeyboardInterrupt),
        (Path, "replace", killed, KeyboardInterrupt),
    ):
        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(owner, name, function)
            save_checkpoint(path, replace(checkpoint, epoch=4))
        assert path.read_bytes() == before
        assert [each.name for each in tmp_path.iterdir()] == ["last.pt"]


def test_files_that_are_no_checkpoint_are_refused(checkpoint: Checkpoint, tmp_path: Path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(path)
    torch.save({"version": 9}, path)
    with pytest.raises(ValueError, match=r"version 9 cannot be read, this code reads 1\.\.2"):
        load_checkpoint(path)
    torch.save({"version": 1, "weights": {}, "optimizer": {}}, path)
    with pytest.raises(ValueError, match="lacks epoch, consumed, shards, recipe"):
        load_checkpoint(path)


FIELDS: dict[str, Any] = {"weights": {}, "optimizer": {}, "epoch": 0, "consumed": 0, "shards": {}, "recipe": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": True}, "checkpoint version True cannot be read, this code reads 1..2"),
        ({"version": [1]}, r"checkpoint version \[1\] cannot be read"),
        ({}, "checkpoint version None cannot be read"),
        ({"version": 2, "weights": None}, "weights must be a dict, got NoneType"),
        ({"version": 2, "weights": [torch.zeros(3)]}, "weights must be a dict, got list"),
        ({"version": 2, "epoch": "1"}, "epoch must be a int, got str"),
    ],
)
def test_a_field_of_another_kind_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    torch.save({**FIELDS, **changes}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=rf"w\.pt: {message}"):
        load_checkpoint(tmp_path / "w.pt")


def test_version_1_is_read_and_what_a_file_need_not_have_has_its_default(tmp_path: Path):
    torch.save({**FIELDS, "version": 1}, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt") == Checkpoint(
        **FIELDS, averaged=None, scaler={}, skipped=0, best=None, best_epoch=0, measures={}
    )


def test_the_mean_of_the_weights_is_evaluated_where_there_is_one(checkpoint: Checkpoint):
    assert checkpoint.evaluated is checkpoint.weights
    mean = {"a.weight": torch.ones(2)}
    assert replace(checkpoint, averaged=mean).evaluated is mean


def test_weights_load_all_or_not_at_all(checkpoint: Checkpoint):
    model = TinyRecogniser()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = {**checkpoint.weights, "extra": torch.zeros(1), "parts.rgb.fc.bias": torch.zeros(9)}
    del weights["parts.rgb.mix.weight"]
    with pytest.raises(ValueError) as caught:
        load_weights(model, weights, "c.pt")
    assert str(caught.value) == (
        "c.pt: the weights do not fit the model: missing parts.rgb.mix.weight; unexpected extra; "
        "parts.rgb.fc.bias must be (6,), got (9,)"
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    load_weights(model, checkpoint.weights, "c.pt")
    assert all(torch.equal(value, checkpoint.weights[name]) for name, value in model.state_dict().items())


def test_of_many_faults_five_are_shown(checkpoint: Checkpoint):
    weights = {**checkpoint.weights, **{f"{'x' * 500}.{number}": torch.zeros(1) for number in range(99)}}
    with pytest.raises(ValueError, match=r"fit the model: unexpected x.*; and 94 more$") as caught:
        load_weights(TinyRecogniser(), weights, "c.pt")
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_converted_weights_are_read_as_a_checkpoint(checkpoint: Checkpoint, name: str, tmp_path: Path):
    path, recipe = tmp_path / name, {"model": {"head": "pcan"}, "stream": {"rgb_frames": 8}}
    shards = {"classes": ["a", "é"], "skeleton": "coco17"}
    save_converted(path, checkpoint.weights, shards=shards, recipe=recipe, source="theirs")
    read = load_checkpoint(path)
    assert (read.shards, read.recipe, read.converted_from) == (shards, recipe, "theirs")
    assert read.weights.keys() == checkpoint.weights.keys() == read_state_dict(path).keys()
    assert all(torch.equal(value, checkpoint.weights[name]) for name, value in read.evaluated.items())
    assert (read.epoch, read.consumed, read.optimizer, read.averaged) == (0, 0, {}, None)


def test_weights_of_others_are_no_checkpoint_and_the_way_is_shown(checkpoint: Checkpoint, tmp_path: Path):
    save_state(tmp_path / "w.safetensors", dict(checkpoint.weights), {})
    torch.save({"state_dict": checkpoint.weights}, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        with pytest.raises(
            ValueError, match=r"version None cannot.*; `epam-model convert` makes a checkpoint of other"
        ):
            load_checkpoint(tmp_path / name)
    values = {"version": 2, "shards": {}, "recipe": {}, "converted_from": "x", "state_dict": 3}
    torch.save(values, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt: weights must be a dict, got int"):
        load_checkpoint(tmp_path / "w.pt")


def test_a_checkpoint_of_other_shards_or_another_model_is_refused(checkpoint: Checkpoint, shards: Path):
    manifest = load_manifest(shards)
    check_same(checkpoint, "c.pt", manifest, {**MODEL, "dropout": 0.1})
    fewer = replace(manifest, classes=manifest.classes[:4])
    with pytest.raises(ValueError, match=r"c\.pt: the checkpoint does not fit: it has 6 classes, the shards have 4"):
        check_same(checkpoint, "c.pt", fewer, MODEL)
    renamed = replace(manifest, classes=(*manifest.classes[:5], "jump"))
    with pytest.raises(ValueError, match="its class 5 is 'kick forward', the shards have 'jump'"):
        check_same(checkpoint, "c.pt", renamed, MODEL)
    with pytest.raises(ValueError, match="its skeleton is coco17, the shards have ma52_28"):
        check_same(checkpoint, "c.pt", replace(manifest, skeleton="ma52_28"), MODEL)
    limbs = replace(manifest, prepare=replace(manifest.prepare, heatmap_kind="limbs"))
    with pytest.raises(ValueError, match="its heatmap_kind is joints, the shards have limbs"):
        check_same(checkpoint, "c.pt", limbs, MODEL)
    with pytest.raises(ValueError, match=r"its model\.streams is both, the recipe has pose"):
        check_same(checkpoint, "c.pt", manifest, {**MODEL, "streams": "pose"})


def test_a_checkpoint_of_another_model_is_refused_without_shards(checkpoint: Checkpoint):
    check_same_model(checkpoint, "c.pt", {**MODEL, "dropout": 0.1})
    message = (
        "^c.pt: the checkpoint does not fit: its model.streams is both, the recipe has rgb; "
        "its model.head is None, the recipe has pcan$"
    )
    with pytest.raises(ValueError, match=message):
        check_same_model(checkpoint, "c.pt", {**MODEL, "streams": "rgb", "head": "pcan"})


def test_clips_that_are_sampled_in_another_way_are_refused_with_all_that_differs(checkpoint: Checkpoint):
    stream = {"rgb_frames": 16, "pose_frames": 48, "sampling": "aligned", "batch_size": 8}
    trained = replace(checkpoint, recipe={"model": MODEL, "stream": stream})
    check_same_clips(trained, "best.pt", {**stream, "batch_size": 99})
    message = (
        "^best.pt: it was trained with stream.rgb_frames 16, the recipe has 8; "
        "it was trained with stream.sampling aligned, the recipe has linspace$"
    )
    with pytest.raises(ValueError, match=message):
        check_same_clips(trained, "best.pt", {**stream, "rgb_frames": 8, "sampling": "linspace"})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda weight: weight.to(torch.int8), "of torch.int8, expected torch.float32"),
        (lambda weight: torch.full_like(weight, float("inf")), "not finite: it holds NaN or infinity"),
        (lambda one: one.expand(TinyRecogniser().parts["rgb"].mix.weight.shape), "that repeats fewer numbers"),
        (lambda weight: weight.to("meta"), "a tensor without numbers"),
    ],
    ids=["int8", "infinite", "strides of 0", "meta"],
)
def test_numbers_that_cannot_be_a_weight_are_refused(change: Any, fault: str) -> None:
    model = TinyRecogniser()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    name = "parts.rgb.mix.weight"
    before, shape = weights[name].clone(), weights[name].shape
    weights[name] = change(torch.ones(1) if fault == "that repeats fewer numbers" else torch.ones(shape))
    with pytest.raises(ValueError, match=rf"c\.pt: the weights do not fit the model: {re.escape(name)} is .*{fault}"):
        load_weights(model, weights, "c.pt")
    assert not torch.equal(model.state_dict()[name], torch.ones_like(before))


NO_CLASSES = "it names no classes; its skeleton is None, the shards have coco17; its heatmap_kind is None"
NO_MODEL = "its model.streams is None, the recipe has both"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"shards": {}}, [NO_CLASSES]),
        ({"recipe": {}}, [NO_MODEL]),
        ({"recipe": {"model": 3}, "shards": {"classes": 3}}, [NO_CLASSES, NO_MODEL]),
    ],
)
def test_a_checkpoint_without_what_it_should_say_is_refused(
    checkpoint: Checkpoint, shards: Path, changes: dict[str, Any], faults: list[str]
) -> None:
    odd, manifest = replace(checkpoint, **changes), load_manifest(shards)
    expected = rf"c\.pt: the checkpoint does not fit: {'.*'.join(map(re.escape, faults))}"
    with pytest.raises(ValueError, match=expected):
        check_same(odd, "c.pt", manifest, MODEL)
    with pytest.raises(ValueError, match=r"c\.pt: it was trained with stream\.rgb_frames None, the recipe has 8"):
        check_same_clips(odd, "c.pt", {"rgb_frames": 8, "pose_frames": 32, "sampling": "uniform"})
    with pytest.raises(ValueError, match=expected):
        check_can_resume(
            odd, "c.pt", manifest, {"model": MODEL, "stream": {}, "train": {"ema_decay": 0}}, view_sha256=""
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"averaged": [1]}, "averaged must be a dict, got list"),
        ({"scaler": 3}, "scaler must be a dict, got int"),
        ({"best": "x"}, "best must be a float, got str"),
        ({"skipped": None}, "skipped must be a int, got NoneType"),
        ({"epoch": True}, "epoch must be a int, got bool"),
        ({"epoch": -5}, r"epoch must be in 0\.\.1000000, got -5"),
        ({"epoch": 10**9}, r"epoch must be in 0\.\.1000000, got 1000000000"),
        ({"best_epoch": -1}, r"best_epoch must be in 0\.\.1000000, got -1"),
        ({"consumed": -1}, r"consumed must be in 0\.\.\d+, got -1"),
        ({"skipped": 10**30}, r"skipped must be in 0\.\.\d+, got 10+"),
    ],
)
def test_a_field_that_need_not_be_there_is_of_its_kind(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    torch.save({**FIELDS, "version": 2, **changes}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=rf"w\.pt: {message}"):
        load_checkpoint(tmp_path / "w.pt")
