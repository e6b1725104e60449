import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from epam_data.check.rules.alignment import alignment_faults, container_faults, expected_box, joint_positions
from epam_data.readers.videos import VideoFinder
from epam_data.samples.prepare import person_box
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import SampleInfo
from epam_data.skeleton import joint_is_missing
from tests.data.raw_data import person, sample_info

PREPARE = PrepareSettings()


def clip(**prepare: object) -> tuple[SampleInfo, np.ndarray, PrepareSettings]:
    """A person inside a 128 x 96 image, in a skeleton of half that size, and the box that a build gives them."""
    settings = replace(PREPARE, **prepare)
    xy = person(6) / 2
    keypoints = np.concatenate([xy, np.full((6, 17, 1), 0.9)], axis=-1)[None].astype(np.float32)
    keypoints[0, 1, 4] = 0
    missing = joint_is_missing(keypoints[..., :2], keypoints[..., 2])
    box = person_box(keypoints[..., :2].astype(float) * 2, missing, (96, 128), padding=settings.box_padding,
                     threshold_px=settings.box_threshold_px, pad_image=settings.pad_image)  # fmt: skip
    return sample_info(image_size=(48, 64), skeleton_frames=6, box=box), keypoints, settings


def faults(info: SampleInfo, keypoints: np.ndarray, prepare: PrepareSettings) -> str:
    return "\n".join(alignment_faults(info, keypoints, joint_positions(info, keypoints), prepare))


@pytest.mark.parametrize("pad_image", [False, True])
@pytest.mark.parametrize("padding", [0.0, 0.25, 2.0])
def test_the_box_of_a_build_is_the_expected_one(pad_image: bool, padding: float):
    info, keypoints, prepare = clip(pad_image=pad_image, box_padding=padding)
    assert expected_box(info, keypoints, prepare) == info.box
    assert faults(info, keypoints, prepare) == ""


@pytest.mark.parametrize("keypoints_to", [(0.02, 20.0), (1.0, 900.0)])
def test_a_tiny_person_or_one_beside_the_image_gives_the_whole_image(keypoints_to: tuple[float, float]):
    info, keypoints, prepare = clip()
    keypoints[..., :2] = np.where(keypoints[..., :2] != 0, keypoints[..., :2] * keypoints_to[0] + keypoints_to[1], 0)
    assert expected_box(info, keypoints, prepare) == (0, 0, 128, 96)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("to", [(0.02, 20.0), (1.0, 900.0), (1.0, -900.0)])
def test_one_direction_is_enough(axis: int, to: tuple[float, float]):
    """Too narrow, too flat, or beside the image on any of its four sides."""
    info, keypoints, prepare = clip()
    seen = keypoints[..., axis] != 0
    keypoints[..., axis] = np.where(seen, keypoints[..., axis] * to[0] + to[1], 0)
    assert expected_box(info, keypoints, prepare) == (0, 0, 128, 96)


def test_a_box_beside_the_person_is_found():
    info, keypoints, prepare = clip()
    moved = replace(info, box=tuple(edge + 15 for edge in info.box))
    assert "of the visible joints inside the image are outside the crop" in faults(moved, keypoints, prepare)
    assert "the box must be" in faults(moved, keypoints, prepare)
    wider = replace(info, box=(info.box[0] - 3, *info.box[1:]))
    assert joint_positions(wider, keypoints).outside_crop == 0 and "the box must be" in faults(
        wider, keypoints, prepare
    )
    # Where the shard lacks frames of the skeleton, the box cannot be found again.
    assert faults(replace(wider, skeleton_frames=7), keypoints, prepare) == ""


def test_another_videos_skeleton_is_found():
    info, keypoints, prepare = clip()
    keypoints[..., 0] += 60 * (keypoints[..., 0] != 0)
    places = joint_positions(info, keypoints)
    assert places.outside_image > 0.5
    assert "of the visible joints are outside the 128 x 96 image" in faults(info, keypoints, prepare)


def test_frame_counts_and_nobody_are_found():
    info, keypoints, prepare = clip()
    assert "num_frames must be the shorter of video 5, skeleton 6, got 6" in faults(
        replace(info, video_frames=5), keypoints, prepare
    )
    assert "at least 50% must overlap" in faults(replace(info, skeleton_frames=40), keypoints, prepare)
    assert "no joint of any frame is visible" in faults(info, keypoints * 0, prepare)
    empty = joint_positions(info, keypoints[:0])
    assert (empty.visible, empty.outside_image, empty.outside_crop) == (0, 0, 0)


def test_shares_count_visible_joints_only():
    info, keypoints, _ = clip()
    places = joint_positions(info, keypoints)
    assert places.visible == pytest.approx(1 - 1 / (6 * 17)) and places.outside_image == places.outside_crop == 0
    keypoints[0, 0, 0, :2] = -5, 10
    assert joint_positions(info, keypoints).outside_image == pytest.approx(1 / (6 * 17 - 1))


@pytest.mark.parametrize("edge", range(4))  # left, top, right, bottom
@pytest.mark.parametrize(("off", "is_outside"), [(0.9, False), (1.1, True)])
def test_the_share_outside_the_crop_has_a_pixel_of_play(edge: int, off: float, is_outside: bool):
    info, keypoints, _ = clip()
    seen = keypoints[0, ..., :2][keypoints[0, ..., 2] > 0] * 2
    values = seen[:, edge % 2]
    box = [-50.0, -50.0, 200.0, 200.0]
    box[edge] = float(values.min() + off if edge < 2 else values.max() - off)
    # The outermost joint, and whatever lies so near to it that it is beyond the same pixel.
    beyond = int((values < box[edge] - 1).sum() if edge < 2 else (values > box[edge] + 1).sum())
    assert (beyond > 0) == is_outside
    assert joint_positions(replace(info, box=tuple(box)), keypoints).outside_crop == pytest.approx(beyond / len(seen))


@pytest.mark.parametrize(
    ("data", "what"), [(b"no video" * 99, "not a readable video ("), (None, "not a readable video")]
)
def test_a_video_that_does_not_open_is_a_fault(data: bytes | None, what: str, tmp_path: Path):
    path = tmp_path / "clip-1.avi"
    path.write_bytes(data) if data else path.mkdir()
    (fault,) = container_faults(sample_info(), VideoFinder(tmp_path), PREPARE)
    assert fault.startswith(f"clip-1.avi: {what}")


def test_a_container_without_pictures_is_a_fault(tmp_path: Path):
    with wave.open(str(tmp_path / "clip-1.avi"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    assert list(container_faults(sample_info(), VideoFinder(tmp_path), PREPARE)) == ["clip-1.avi: has no video stream"]
