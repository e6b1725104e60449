import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from epam_data.check.rules.alignment import (
    MAX_OUTSIDE,
    JointPositions,
    alignment_faults,
    container_faults,
    expected_box,
    joint_positions,
)
from epam_data.readers.videos import VideoFinder
from epam_data.samples.prepare import person_box
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import SampleInfo
from epam_data.skeleton import joint_is_missing
from tests.data.raw_data import background, person, sample_info, write_sound, write_video

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


@pytest.mark.parametrize(
    ("x", "y", "is_outside"),
    [
        (0, 10, False), (10, 0, False), (0.25, 10, False), (10, 0.25, False), (64, 10, False), (10, 48, False),
        (-0.25, 10, True), (10, -0.25, True), (64.25, 10, True), (10, 48.25, True),
    ],
)  # fmt: skip
def test_the_border_belongs_to_the_image(x: float, y: float, is_outside: bool):
    info, keypoints, _ = clip()
    keypoints[0, 0, 0, :2] = x, y
    assert (joint_positions(info, keypoints).outside_image > 0) == is_outside


@pytest.mark.parametrize("score", [0.0, 5e-5, 1e-4, 2e-4, 0.3, np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (0, 5), (5, 0), (np.nan, 5), (5, np.inf)])
def test_the_joints_that_count_are_those_of_a_build(score: float, place: tuple[float, float]):
    info, keypoints, _ = clip()
    keypoints = keypoints.astype(np.float64)
    keypoints[0, 2, 3] = *place, score
    missing = joint_is_missing(keypoints[..., :2], keypoints[..., 2])
    assert joint_positions(info, keypoints).visible == pytest.approx((~missing).mean())


def test_half_of_the_joints_may_lie_outside_the_image():
    info, keypoints, prepare = clip()
    half = JointPositions(visible=1.0, outside_image=MAX_OUTSIDE, outside_crop=0.0)
    assert MAX_OUTSIDE == 0.5 and list(alignment_faults(info, keypoints, half, prepare)) == []
    more = replace(half, outside_image=0.51)
    assert list(alignment_faults(info, keypoints, more, prepare)) == [
        "51% of the visible joints are outside the 128 x 96 image"
    ]


def test_half_of_the_longer_must_overlap():
    info, keypoints, prepare = clip()
    for longer in ({"skeleton_frames": 12}, {"video_frames": 12}):
        assert faults(replace(info, **longer), keypoints, prepare) == ""
    said = "frames: video 6, skeleton 13; at least 50% must overlap"
    assert faults(replace(info, skeleton_frames=13), keypoints, prepare) == said


@pytest.mark.parametrize(("edge", "way"), list(itertools.product(range(4), (-1, 1))))
def test_an_edge_of_the_box_has_a_pixel_of_play(edge: int, way: int):
    info, keypoints, prepare = clip()
    for off, is_wrong in ((1, False), (2, True)):
        box = list(info.box)
        box[edge] += way * off
        said = faults(replace(info, box=tuple(box)), keypoints, prepare)
        assert ("the box must be" in said) == is_wrong


@pytest.mark.parametrize(
    ("corners", "pad_image", "box"),
    [
        ((128, 40, 148, 60), False, (0, 0, 128, 96)),  # touches the right edge, shows nothing
        ((-20, 40, 0, 60), False, (0, 0, 128, 96)),
        ((40, 96, 60, 116), False, (0, 0, 128, 96)),
        ((40, -20, 60, 0), False, (0, 0, 128, 96)),
        ((128, 40, 148, 60), True, (0, 0, 128, 96)),
        ((127, 40, 147, 60), False, (127, 40, 128, 60)),  # shows one column
        ((-19, 40, 1, 60), False, (0, 40, 1, 60)),
        ((40, 95, 60, 115), False, (40, 95, 60, 96)),
        ((40, -19, 60, 1), False, (40, 0, 60, 1)),
        ((-19, 40, 1, 60), True, (-19, 40, 1, 60)),
        ((40, -19, 60, 1), True, (40, -19, 60, 1)),
        ((40, 40, 50, 60), True, (35, 40, 55, 60)),  # as wide as the threshold
        ((40, 40, 49, 60), True, (0, 0, 128, 96)),
        ((40, 40, 60, 50), True, (40, 35, 60, 55)),
        ((40, 40, 60, 49), True, (0, 0, 128, 96)),
    ],
)
def test_boxes_by_hand(corners: tuple[int, ...], pad_image: bool, box: tuple[int, ...]):
    """Also those of a build."""
    keypoints = np.array([[(*corners[:2], 0.9), (*corners[2:], 0.9)]])[None]
    info, prepare = sample_info(image_size=(96, 128)), replace(PREPARE, pad_image=pad_image, box_padding=0.0)
    assert expected_box(info, keypoints, prepare) == box
    visible = keypoints[..., 0] < np.inf
    assert box == person_box(keypoints[..., :2], ~visible, (96, 128), padding=0.0, pad_image=pad_image)


@pytest.mark.parametrize("edge", range(4))  # left, top, right, bottom
@pytest.mark.parametrize(("off", "is_outside"), [(0.9, False), (1.0, False), (1.1, True)])
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
    ("data", "what"), [(b"no video" * 99, "not a readable video ("), (None, "not a regular file, expected a video")]
)
def test_a_video_that_does_not_open_is_a_fault(data: bytes | None, what: str, tmp_path: Path):
    path = tmp_path / "clip-1.avi"
    path.write_bytes(data) if data else path.mkdir()
    (fault,) = container_faults(sample_info(), VideoFinder(tmp_path), PREPARE)
    assert fault.startswith(f"clip-1.avi: {what}")


def test_a_container_without_pictures_is_a_fault(tmp_path: Path):
    write_sound(tmp_path / "clip-1.avi")
    assert list(container_faults(sample_info(), VideoFinder(tmp_path), PREPARE)) == ["clip-1.avi: has no video stream"]


def test_the_frames_that_the_container_announces_are_compared(tmp_path: Path):
    write_video(tmp_path / "clip-1.avi", [background((32, 32))] * 9)
    videos = VideoFinder(tmp_path)
    for decoded in (1, 9, 17):  # as far apart as a build allows
        assert list(container_faults(sample_info(video_frames=decoded), videos, PREPARE)) == []
    assert list(container_faults(sample_info(video_frames=18), videos, PREPARE)) == [
        "the container's header says 9 frames, the decoder returned 18"
    ]
    strict = replace(PREPARE, max_frame_difference=2)
    assert list(container_faults(sample_info(video_frames=6), videos, strict)) == [
        "the container's header says 9 frames, the decoder returned 6"
    ]


def test_a_container_that_announces_no_frames_raises_no_alarm(tmp_path: Path):
    path = tmp_path / "clip-1.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height = stream.width = 32
        for image in [background((32, 32))] * 9:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert list(container_faults(sample_info(video_frames=90), VideoFinder(tmp_path), PREPARE)) == []


def test_a_video_that_is_not_there_is_a_fault(tmp_path: Path):
    assert list(container_faults(sample_info(), VideoFinder(tmp_path), PREPARE)) == [
        f"no video of train/clip-1 in {tmp_path}"
    ]
