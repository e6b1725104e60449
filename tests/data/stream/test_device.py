"""Finishing a batch: equal to NumPy, and a mirror that image and heatmap agree on."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from epam_data.samples.heatmap import draw_joints, quantise
from epam_data.shards.manifest import load_manifest
from epam_data.skeleton import COCO17
from epam_data.stream import Batch, BatchFinisher
from epam_data.stream.device import GREY, RGB_MEAN, RGB_STD, resized_crop
from epam_data.stream.device import draw_joints as draw_on_device

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
    ),
]


def make_batch(size: int = 3, **changes: object) -> Batch:
    generator = torch.Generator().manual_seed(0)
    values = {
        "keys": [f"k{number}" for number in range(size)],
        "position": torch.arange(size),
        "label": torch.arange(size),
        "coarse_label": torch.arange(size),
        "rgb": torch.randint(0, 256, (size, 2, 16, 16, 3), generator=generator, dtype=torch.uint8),
        "heatmap": torch.randint(0, 256, (size, 4, 17, 8, 8), generator=generator, dtype=torch.uint8),
        "heatmap_scale": torch.linspace(1, 1.25, size),
        "flip": torch.tensor([number % 2 == 1 for number in range(size)]),
        "rgb_frames": torch.zeros(size, 2, dtype=torch.int64),
        "pose_frames": torch.zeros(size, 4, dtype=torch.int64),
        "rgb_size_px": 16,
        "heatmap_size_px": 8,
    }
    return Batch(**{**values, **changes})


@pytest.mark.parametrize("device", DEVICES)
def test_it_equals_numpy(device: str) -> None:
    batch = make_batch()
    finisher = BatchFinisher(COCO17.flip_order).to(device)
    rgb, pose = finisher(batch.to(device))
    assert rgb.shape == (3, 3, 2, 16, 16) and pose.shape == (3, 17, 4, 8, 8)
    assert rgb.dtype == pose.dtype == torch.float32 and rgb.is_contiguous() and pose.is_contiguous()
    for sample in range(3):
        frames = batch.rgb[sample].numpy().astype(np.float64)
        expected = ((frames - RGB_MEAN) / RGB_STD).transpose(3, 0, 1, 2)
        levels = batch.heatmap[sample].numpy().astype(np.float64)
        volume = levels.transpose(1, 0, 2, 3) * (float(batch.heatmap_scale[sample]) / 255)
        if batch.flip[sample]:
            expected = expected[..., ::-1]
            volume = np.stack([volume[COCO17.flip_order[joint]][..., ::-1] for joint in range(17)])
        np.testing.assert_allclose(rgb[sample].cpu(), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(pose[sample].cpu(), volume, rtol=0, atol=1e-6)


def test_the_published_mean_and_deviation() -> None:
    assert RGB_MEAN == (123.675, 116.28, 103.53) and RGB_STD == (58.395, 57.12, 57.375)


def test_a_mirrored_mirror_image_is_the_clip() -> None:
    """Mirror the input by hand; the finisher's flip brings it back."""
    batch = make_batch()
    finisher = BatchFinisher(COCO17.flip_order)
    mirrored = replace(
        batch,
        rgb=batch.rgb.flip(3),
        heatmap=batch.heatmap[:, :, list(COCO17.flip_order)].flip(4),
        flip=~batch.flip,
    )
    for one, other in zip(finisher(batch), finisher(mirrored), strict=True):
        assert torch.equal(one, other)


def test_each_sample_is_flipped_for_itself() -> None:
    batch = make_batch()
    finisher = BatchFinisher(COCO17.flip_order)
    straight = finisher(replace(batch, flip=torch.zeros(3, dtype=torch.bool)))
    turned = finisher(replace(batch, flip=torch.ones(3, dtype=torch.bool)))
    mixed = finisher(batch)
    for sample, flip in enumerate(batch.flip.tolist()):
        for modality in (0, 1):
            expected = (turned if flip else straight)[modality][sample]
            assert torch.equal(mixed[modality][sample], expected)
            assert not torch.equal(straight[modality][sample], turned[modality][sample])


@pytest.mark.parametrize("joint", [0, 5, 10])
def test_a_dot_at_the_keypoint_stays_at_the_mirrored_joint(joint: int) -> None:
    """Frames and heatmap of one size: joint at pixel (3, 9) of 16; mirrored it lies at 15 - 3 of its counterpart."""
    keypoints = np.full((1, 1, 17, 2), np.nan)
    keypoints[0, 0, joint] = 3, 9
    levels = quantise(draw_joints(keypoints, np.ones((1, 1, 17)), (16, 16), 0.6), 1.0)
    frames = np.zeros((1, 1, 16, 16, 3), np.uint8)
    frames[0, 0, 9, 3] = 255
    batch = make_batch(
        1,
        rgb=torch.from_numpy(frames),
        heatmap=torch.from_numpy(levels)[None],
        heatmap_scale=torch.ones(1),
        flip=torch.ones(1, dtype=torch.bool),
    )
    rgb, pose = BatchFinisher(COCO17.flip_order)(batch)
    bright = np.unravel_index(int(rgb[0, 0, 0].argmax()), (16, 16))
    mirrored = COCO17.flip_order[joint]
    peak = np.unravel_index(int(pose[0, mirrored, 0].argmax()), (16, 16))
    assert bright == peak == (9, 15 - 3)
    assert [bool(channel.any()) for channel in pose[0, :, 0]] == [number == mirrored for number in range(17)]


@pytest.mark.parametrize("kind", ["joints", "limbs"])
def test_the_manifest_says_what_a_channel_is(ntu60_shards: Path, kind: str) -> None:
    manifest = load_manifest(ntu60_shards)
    manifest = replace(manifest, prepare=replace(manifest.prepare, heatmap_kind=kind))
    order = COCO17.flip_order if kind == "joints" else COCO17.limb_flip_order
    assert BatchFinisher.for_shards(manifest).flip_order.tolist() == list(order)


def test_it_has_no_state_to_save() -> None:
    finisher = BatchFinisher(COCO17.flip_order)
    assert not finisher.state_dict() and not list(finisher.parameters())


def test_inputs_are_not_changed() -> None:
    batch = make_batch()
    before = batch.rgb.clone(), batch.heatmap.clone()
    BatchFinisher(COCO17.flip_order)(batch)
    assert torch.equal(batch.rgb, before[0]) and torch.equal(batch.heatmap, before[1])


def test_a_batch_moves_whole() -> None:
    moved = make_batch().to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 9 and {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.keys == ["k0", "k1", "k2"]


# Drawn heatmaps


def random_keypoints(persons: int = 2, seed: int = 0, size: int = 56) -> np.ndarray:
    """(2, M, 48, 17, 3) x, y, height: inside, beside and far outside of the heatmap; some missing."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform((-8, -8, 0.1), (size + 8, size + 8, 1.2), (2, persons, 48, 17, 3))
    keypoints[:, :, 0, :, :2] *= 1e6
    keypoints[rng.random(keypoints.shape[:-1]) < 0.1] = 0
    return keypoints


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sigma", [0.6, 0.7, 2.0])
@pytest.mark.parametrize("persons", [1, 3])
def test_it_draws_what_the_painter_draws(sigma: float, persons: int, device: str) -> None:
    keypoints = random_keypoints(persons)
    batch = make_batch(
        2,
        keypoints=torch.from_numpy(keypoints),
        heatmap=None,
        heatmap_size_px=56,
        flip=torch.zeros(2, dtype=torch.bool),
    )
    _, pose = BatchFinisher(COCO17.flip_order, sigma).to(device)(batch.to(device))
    assert pose.shape == (2, 17, 48, 56, 56) and pose.dtype == torch.float32 and pose.is_contiguous()
    for clip in range(2):
        expected = draw_joints(keypoints[clip, ..., :2], keypoints[clip, ..., 2], (56, 56), sigma)
        np.testing.assert_allclose(pose[clip].cpu().transpose(0, 1), expected, rtol=0, atol=1e-6)
        assert (np.asarray(pose[clip].cpu().transpose(0, 1) > 0) == (expected > 0)).all(), "not one pixel more or less"


@pytest.mark.parametrize("sigma", [0.6, 0.7])
def test_bounds_are_taken_in_float64(sigma: float) -> None:
    """Centres whose bounds in float32 would fall on the other side of an integer."""
    pixels = np.arange(2, 50)
    centres = np.concatenate([np.nextafter(pixels + 3 * sigma, side) for side in (0, 100)])
    float32 = (centres.astype(np.float32) - np.float32(3 * sigma)).astype(int)
    assert (float32 != (centres - 3 * sigma).astype(int)).any(), "float32 would differ"
    keypoints = np.stack([centres, np.full_like(centres, 9.0), np.ones_like(centres)], axis=-1)[None, None, :, None]
    expected = draw_joints(keypoints[0, ..., :2], keypoints[0, ..., 2], (56, 56), sigma)
    made = draw_on_device(torch.from_numpy(keypoints).transpose(2, 3), 56, sigma)[0].transpose(0, 1)
    np.testing.assert_array_equal(made > 0, expected > 0)


def test_a_drawn_heatmap_is_mirrored_like_a_stored_one() -> None:
    keypoints = random_keypoints(1)
    heatmap = draw_joints(keypoints[0, ..., :2], keypoints[0, ..., 2], (56, 56), 0.6)
    stored = make_batch(
        1,
        heatmap=torch.from_numpy(quantise(heatmap, 1.2))[None],
        heatmap_scale=torch.full((1,), 1.2),
        flip=torch.ones(1, dtype=torch.bool),
    )
    drawn = replace(stored, heatmap=None, keypoints=torch.from_numpy(keypoints[:1]), heatmap_size_px=56)
    finisher = BatchFinisher(COCO17.flip_order, 0.6)
    assert (finisher(stored)[1] - finisher(drawn)[1]).abs().max() <= 0.5 / 255 * 1.2 + 1e-6


# Crops


def reference_crop(image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) -> (size, size, 3): bilinear between pixel centres, pixel by pixel, in float64."""
    height, width = image.shape[:2]
    out = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            place = []
            for low, high, extent, pixel in ((box[0], box[2], width, column), (box[1], box[3], height, row)):
                first, last = low * extent, high * extent
                place.append(min(max(first + (pixel + 0.5) * (last - first) / size - 0.5, first), last - 1))
            x, y = place
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            fx, fy = x - left, y - top
            out[row, column] = (1 - fy) * ((1 - fx) * image[top, left] + fx * image[top, left + 1]) + fy * (
                (1 - fx) * image[top + 1, left] + fx * image[top + 1, left + 1]
            )
    return out


@pytest.mark.parametrize("device", DEVICES)
def test_a_crop_equals_the_reference(device: str) -> None:
    crop = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.25, 0.1, 0.9, 0.75], [0.1, 0.0, 1.0, 0.6]])
    batch = make_batch(crop=crop, rgb_size_px=12, flip=torch.tensor([False, False, True]))
    rgb, _ = BatchFinisher(COCO17.flip_order).to(device)(batch.to(device))
    assert rgb.shape == (3, 3, 2, 12, 12) and rgb.is_contiguous()
    for clip in range(3):
        for frame in range(2):
            expected = reference_crop(batch.rgb[clip, frame].numpy().astype(float), crop[clip].double().numpy(), 12)
            expected = ((expected - RGB_MEAN) / RGB_STD).transpose(2, 0, 1)
            if batch.flip[clip]:
                expected = expected[..., ::-1]
            np.testing.assert_allclose(rgb[clip, :, frame].cpu(), expected, rtol=0, atol=1e-3)


def test_a_crop_of_whole_pixels_at_their_own_size_cuts_them_out() -> None:
    """224 of 256, as in the published recipe: pixels 16 ... 239."""
    images = torch.randint(0, 256, (1, 3, 256, 256), generator=torch.Generator().manual_seed(0)).float()
    box = torch.tensor([[1 / 16, 1 / 16, 15 / 16, 15 / 16]])
    torch.testing.assert_close(resized_crop(images, box, 224), images[..., 16:240, 16:240], rtol=0, atol=0.02)


def test_heatmap_and_frames_are_cropped_alike() -> None:
    """A dot at the keypoint, a wide and a tall crop: it stays at the keypoint within half a pixel of the heatmap."""
    size, sides = 64, ((0.2, 0.1, 0.9, 0.7), (0.1, 0.2, 0.6, 0.95))
    frames = np.zeros((2, 1, size, size, 3), np.uint8)
    frames[:, 0, 28:31, 20:23] = 255
    keypoints = np.zeros((2, 1, 1, 17, 3))
    for clip, (x1, y1, x2, y2) in enumerate(sides):
        keypoints[clip, 0, 0, 5] = (21 / size - x1) / (x2 - x1) * 48, (29 / size - y1) / (y2 - y1) * 48, 1
    batch = make_batch(
        2,
        rgb=torch.from_numpy(frames),
        crop=torch.tensor(sides),
        rgb_size_px=48,
        heatmap=None,
        keypoints=torch.from_numpy(keypoints),
        heatmap_size_px=48,
    )
    rgb, pose = BatchFinisher(COCO17.flip_order)(batch)
    for clip, mirrored in enumerate(batch.flip.tolist()):
        light, heat = rgb[clip, 0, 0] - rgb[clip, 0, 0].min(), pose[clip, 6 if mirrored else 5, 0]
        for axis in (0, 1):
            places = [(image.sum(1 - axis) * torch.arange(48)).sum() / image.sum() for image in (light, heat)]
            assert abs(places[0] - places[1]) < 0.6


# Colours


@pytest.mark.parametrize("device", DEVICES)
def test_colours_equal_numpy(device: str) -> None:
    colour = torch.tensor([[0.8, 1.2], [1.2, 0.8], [1.0, 1.0]])
    batch = make_batch(colour=colour)
    rgb, _ = BatchFinisher(COCO17.flip_order).to(device)(batch.to(device))
    for clip, (brightness, contrast) in enumerate(colour.double().tolist()):
        for frame in range(2):
            image = np.clip(batch.rgb[clip, frame].numpy() * brightness, 0, 255)
            grey = (image @ np.array(GREY)).mean()
            image = np.clip(grey + contrast * (image - grey), 0, 255)
            expected = ((image - RGB_MEAN) / RGB_STD).transpose(2, 0, 1)
            if batch.flip[clip]:
                expected = expected[..., ::-1]
            np.testing.assert_allclose(rgb[clip, :, frame].cpu(), expected, rtol=0, atol=1e-5)


# One module that compilers take


def everything_at_once() -> Batch:
    """Crop, colours, flip and drawn heatmaps."""
    return make_batch(
        2,
        keys=[],
        heatmap=None,
        heatmap_scale=None,
        keypoints=torch.from_numpy(random_keypoints()[:, :, :4]),
        heatmap_size_px=56,
        crop=torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.25, 0.1, 0.9, 0.75]]),
        rgb_size_px=12,
        colour=torch.tensor([[0.8, 1.2], [1.2, 0.8]]),
    )


@pytest.mark.parametrize("make", [lambda: make_batch(2, keys=[]), everything_at_once], ids=["stored", "drawn"])
def test_it_compiles_without_a_break_and_exports(make: Callable[[], Batch]) -> None:
    batch, finisher = make(), BatchFinisher(COCO17.flip_order)
    expected = finisher(batch)
    compiled = torch.compile(finisher, fullgraph=True, backend="aot_eager")
    file = io.BytesIO()
    torch.export.save(torch.export.export(finisher, (batch,)), file)
    file.seek(0)
    with torch.serialization.safe_globals([Batch]):
        exported = torch.export.load(file).module()
    other = replace(batch, flip=~batch.flip, rgb=batch.rgb.flip(0), label=batch.label + 1)
    for module in (compiled, exported):
        for given, wanted in ((batch, expected), (other, finisher(other))):
            for made, right in zip(module(given), wanted, strict=True):
                torch.testing.assert_close(made, right, rtol=0, atol=1e-5)
