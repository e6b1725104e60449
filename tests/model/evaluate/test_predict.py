import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from epam_data.shards.index import load_index
from epam_data.shards.layout import MANIFEST
from epam_data.shards.manifest import Manifest, load_manifest
from epam_data.stream import BatchFinisher, Stream
from epam_model.build import build_model
from epam_model.evaluate.predict import (
    check_model_fits,
    collect,
    evaluate,
    evaluating,
    mean_over_clips,
    most_probable,
)
from epam_model.networks.heads import Logits
from epam_model.networks.settings import ModelSettings
from tests.model.tiny import CLASSES, STREAM, TinyRecogniser

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


def open_split(shards: Path, split: str, batch_size: int = 4) -> tuple[Stream, BatchFinisher]:
    stream = Stream(shards, split=split, settings=replace(STREAM, batch_size=batch_size), training=False)
    return stream, BatchFinisher.for_shards(stream.manifest)


class Oracle(nn.Module):
    """Knows the label from the bright heatmap channel; errs on purpose on chosen labels."""

    def __init__(self, wrong: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        brightness = pose.mean(dim=(2, 3, 4))[:, :6]
        label = brightness.argmax(1)
        label = torch.tensor([(k + 1) % 6 if k in self.wrong else k for k in label.tolist()])
        one_hot = nn.functional.one_hot(label, 6).float()
        return Logits(rgb=one_hot, pose=2 * one_hot)


def test_every_clip_is_predicted_once_in_storage_order(shards: Path):
    stream, finisher = open_split(shards, "val", batch_size=3)
    predictions = collect(Oracle(), stream, finisher, CPU)
    index = load_index(shards)
    rows = [row for row, key in enumerate(index.keys) if key.startswith(b"val")]
    assert predictions.keys == [index.keys[row].decode() for row in rows]
    assert predictions.labels.tolist() == index.label[rows].tolist()
    assert predictions.logits["rgb"].argmax(1).tolist() == predictions.labels.tolist()


def test_measures_count_clips(shards: Path):
    stream, finisher = open_split(shards, "val")  # labels 0 1 2 3 4 5 0
    assert evaluate(Oracle(), stream, finisher, CPU)["top1_fused"] == 1.0
    assert evaluate(Oracle(wrong=(0,)), stream, finisher, CPU)["top1_fused"] == 5 / 7
    assert evaluate(Oracle(wrong=(3,)), stream, finisher, CPU)["top1_rgb"] == 6 / 7


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_measures_do_not_depend_on_the_batch(shards: Path, batch_size: int):
    model = TinyRecogniser(dropout=0.9)
    expected = evaluate(model, *open_split(shards, "val"), CPU)
    assert evaluate(model, *open_split(shards, "val", batch_size), CPU) == expected


def test_the_clips_of_a_sample_are_averaged(shards: Path):
    """By hand, from the logits of each clip: the mean of their softmax outputs."""
    model = TinyRecogniser(dropout=0.0).eval()
    settings = replace(STREAM, batch_size=3, num_clips=4)
    stream = Stream(shards, split="val", settings=settings, training=False)
    finisher = BatchFinisher.for_shards(stream.manifest)
    predictions = collect(model, stream, finisher, CPU)
    assert len(predictions.keys) == 7 and predictions.labels.tolist() == [0, 1, 2, 3, 4, 5, 0]
    with torch.no_grad():
        clips = [model(*finisher(batch)) for batch in stream.epoch()]
    for name in ("rgb", "pose"):
        each = torch.cat([logits.streams[name] for logits in clips]).softmax(1).view(7, 4, 6)
        assert each.std(dim=1).amax() > 0, "the clips differ"
        torch.testing.assert_close(predictions.logits[name].softmax(1), each.mean(dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_clips", [1, 3])
def test_mirror_images_are_averaged_with_left_and_right_joints_swapped(shards: Path, num_clips: int):
    """By hand: frames and heatmaps turned around, the channels of left and right joints exchanged."""
    model = Sided().eval()
    settings = replace(STREAM, batch_size=3, num_clips=num_clips, eval_flip=True)
    stream = Stream(shards, split="val", settings=settings, training=False)
    finisher = BatchFinisher.for_shards(stream.manifest)
    predictions = collect(model, stream, finisher, CPU)
    swapped = [0, *(joint + 1 if joint % 2 else joint - 1 for joint in range(1, 17))]  # COCO: left 1, right 2, ...
    with torch.no_grad():
        clips = [finisher(batch) for batch in stream.epoch()]
        plain = [model(rgb, pose) for rgb, pose in clips]
        mirrored = [model(rgb.flip(-1), pose[:, swapped].flip(-1)) for rgb, pose in clips]
    for name in ("rgb", "pose"):
        one, other = (torch.cat([x.streams[name] for x in each]).softmax(1) for each in (plain, mirrored))
        assert (one - other).abs().max() > 1e-3, "a model that sees the sides"
        expected = ((one + other) / 2).view(7, num_clips, 6).mean(dim=1)
        torch.testing.assert_close(predictions.logits[name].softmax(1), expected, rtol=1e-5, atol=1e-6)


class Sided(TinyRecogniser):
    """Sees where in the picture things are: it looks at the left half, and weights each joint in its own way."""

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        half = [clip * (torch.arange(clip.shape[-1]) < clip.shape[-1] // 2) for clip in (rgb, pose)]
        return super().forward(*half)


def test_what_counts_is_the_mean_probability():
    logits = 4 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    expected = logits.softmax(1).view(2, 3, 5).mean(dim=1)
    torch.testing.assert_close(mean_over_clips(logits, 3).softmax(1), expected)
    assert (logits.view(2, 3, 5).mean(dim=1).softmax(1) - expected).abs().max() > 0.1, "the mean logit is another thing"


def test_one_clip_keeps_its_logits():
    logits = torch.randn(5, 6)
    assert mean_over_clips(logits, 1) is logits
    assert mean_over_clips(torch.tensor([[1000.0, 0.0], [0.0, 1000.0]]), 2).softmax(1).tolist() == [[0.5, 0.5]]


def test_clips_that_are_not_finite_name_their_sample(shards: Path):
    class Broken(Oracle):
        def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
            logits = super().forward(rgb, pose)
            logits.pose[3] = float("nan")  # clip 1 of the second sample
            return logits

    stream = Stream(shards, split="val", settings=replace(STREAM, batch_size=3, num_clips=2), training=False)
    with pytest.raises(FloatingPointError, match="the pose logits of val-1 are not finite"):
        evaluate(Broken(), stream, BatchFinisher.for_shards(stream.manifest), CPU)


def test_the_model_is_left_in_the_mode_that_it_had(shards: Path):
    model = TinyRecogniser()
    with evaluating(model):
        assert not model.training
    assert model.training
    with evaluating(model.eval()):
        pass
    assert not model.training


def test_hidden_labels_are_predicted_and_not_scored(shards: Path):
    stream, finisher = open_split(shards, "test")
    assert evaluate(TinyRecogniser(), stream, finisher, CPU) == {}
    predictions = most_probable(collect(TinyRecogniser(), stream, finisher, CPU), CLASSES.classes)
    assert [each.key for each in predictions] == [f"test-{number}" for number in range(5)]
    assert {each.label for each in predictions} == {None}


def test_predictions_name_the_five_most_probable_classes(shards: Path):
    stream, finisher = open_split(shards, "val")
    predictions = collect(Oracle(), stream, finisher, CPU)
    first = most_probable(predictions, CLASSES.classes)[0]
    assert (first.key, first.label) == ("val-0", CLASSES.classes[0])
    assert [name for name, _ in first.top] == list(CLASSES.classes[:5])  # equal ones by their number
    rgb, pose = torch.eye(6)[:1], 2 * torch.eye(6)[:1]
    expected = (rgb.softmax(1) + pose.softmax(1)) / 2
    assert [p for _, p in first.top] == pytest.approx(expected[0, :5].tolist())
    by_pose = most_probable(predictions, CLASSES.classes, "pose")[0]
    assert by_pose.top[0] == (CLASSES.classes[0], pytest.approx(pose.softmax(1)[0, 0].item()))


def test_logits_that_are_not_finite_name_their_clips(shards: Path):
    class Broken(Oracle):
        def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
            logits = super().forward(rgb, pose)
            logits.pose[1] = float("nan")
            return logits

    with pytest.raises(FloatingPointError, match="the pose logits of val-1 are not finite"):
        evaluate(Broken(), *open_split(shards, "val"), CPU)


def test_a_model_that_does_not_fit_is_refused(shards: Path):
    stream, _ = open_split(shards, "val")
    assert stream.manifest.num_channels == 17
    limbs = replace(stream.manifest, prepare=replace(stream.manifest.prepare, heatmap_kind="limbs"))
    assert limbs.num_channels == 17
    for streams in ("both", "rgb", "pose"):
        settings = ModelSettings(streams=streams)
        check_model_fits(build_model(settings, num_classes=6, num_joints=17), stream, CPU)
        with pytest.raises(ValueError, match="the model has 7 classes, the shards have 6"):
            check_model_fits(build_model(settings, num_classes=7, num_joints=17), stream, CPU)
    with pytest.raises(ValueError, match=r"the model does not fit the shards: pose must be \(B, 28, T, H, W\), got"):
        check_model_fits(build_model(ModelSettings(), num_classes=6, num_joints=28), stream, CPU)


@pytest.mark.parametrize(
    ("model", "frames", "message"),
    [
        ({}, (3, 7), "pose frames must be a multiple of the 3 rgb frames, got 7"),
        ({"attention_type": "spatial_temporal"}, (2, 4), "spatial_temporal attention needs clips of 16 frames"),
        ({"network": "rgbpose_conv3d"}, (2, 4), "RGBPoseConv3D takes 4 pose frames per rgb frame, got 4 and 2"),
    ],
)
def test_clips_of_other_lengths_are_refused(shards: Path, model: dict[str, Any], frames: tuple[int, int], message: str):
    settings = replace(STREAM, rgb_frames=frames[0], pose_frames=frames[1], sampling="independent")
    stream = Stream(shards, split="val", settings=settings, training=False)
    with pytest.raises(ValueError, match=f"^{shards}: the model does not fit the shards: {message}"):
        check_model_fits(build_model(ModelSettings(**model), num_classes=6, num_joints=17), stream, CPU)


def changed(shards: Path, tmp_path: Path, change: Callable[[Manifest], Manifest]) -> Stream:
    root = Path(shutil.copytree(shards, tmp_path / "shards"))
    (root / MANIFEST).write_bytes(change(load_manifest(root)).to_json())
    return Stream(root, split="val", settings=STREAM, training=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: replace(m, prepare=replace(m.prepare, heatmap_size_px=12)),
            r"rgb and pose must give features of the same size, got \(1, 1\) from",
        ),
        (lambda m: replace(m, skeleton="ma52_28"), r"pose must be \(B, 17, T, H, W\), got \(1, 28, 4, 8, 8\)"),
        (
            lambda m: replace(m, skeleton="ma52_28", prepare=replace(m.prepare, heatmap_kind="limbs")),
            r"pose must be \(B, 17, T, H, W\), got \(1, 27, 4, 8, 8\)",
        ),
    ],
    ids=["heatmap size", "skeleton", "limbs"],
)
def test_heatmaps_of_other_shapes_are_refused(shards: Path, tmp_path: Path, change: Any, message: str):
    model = build_model(ModelSettings(), num_classes=6, num_joints=17)
    with pytest.raises(ValueError, match=f"the model does not fit the shards: .*({message})"):
        check_model_fits(model, changed(shards, tmp_path, change), CPU)


def test_a_taxonomy_that_does_not_cover_the_groups_is_refused(shards: Path, tmp_path: Path):
    model = build_model(ModelSettings(head="pcan"), num_classes=6, num_joints=17, num_coarse_classes=3)
    stream = changed(shards, tmp_path, lambda manifest: replace(manifest, coarse_of=(0, 0, 1, 1, 1, 1)))
    with pytest.raises(ValueError, match="the model has 3 coarse groups, the classes of the shards have"):
        check_model_fits(model, stream, CPU)


# Damaged samples that are skipped


def test_measures_say_over_how_many_samples_they_are(shards: Path, tmp_path: Path):
    """Labels 0 1 2 3 4 5 0 in shards of five; the second shard (5 and 0) is gone."""
    root = Path(shutil.copytree(shards, tmp_path / "shards"))
    (root / "val-000001.tar").unlink()
    stream = Stream(root, split="val", settings=replace(STREAM, on_damage="skip"), training=False)
    finisher = BatchFinisher.for_shards(stream.manifest)
    predictions = collect(Oracle(), stream, finisher, CPU)
    assert predictions.keys == [f"val-{number}" for number in range(5)]
    assert predictions.labels.tolist() == [0, 1, 2, 3, 4]
    measures = evaluate(Oracle(wrong=(0,)), stream, finisher, CPU)
    assert measures["top1_fused"] == 4 / 5 and measures["num_samples"] == 5
    assert "num_samples" not in evaluate(Oracle(), *open_split(shards, "val"), CPU)


def test_a_split_of_which_nothing_can_be_read_has_no_measures(shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(shards, tmp_path / "shards"))
    for path in root.glob("val-*.tar"):
        path.unlink()
    stream = Stream(root, split="val", settings=replace(STREAM, on_damage="skip"), training=False)
    with pytest.raises(ValueError, match=f"^{root}: no sample of val can be read; the first: val-000000.tar: val-0: "):
        evaluate(Oracle(), stream, BatchFinisher.for_shards(stream.manifest), CPU)
