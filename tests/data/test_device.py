"""Finishing a batch: equal to NumPy, and a mirror that image and heatmap agree on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from epam_data.heatmap import draw_joints, quantise
from epam_data.index import load_manifest
from epam_data.skeleton import COCO17
from epam_data.stream import Batch, BatchFinisher
from epam_data.stream.device import RGB_MEAN, RGB_STD

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
    manifest = replace(manifest, prepare={**manifest.prepare, "heatmap_kind": kind})
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
    assert {tensor.device.type for name, tensor in vars(moved).items() if name != "keys"} == {"meta"}
    assert moved.keys == ["k0", "k1", "k2"]
