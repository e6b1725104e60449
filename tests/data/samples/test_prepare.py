"""The person box by hand, one box for frames and heatmap, and clips that cannot be used."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epam_data.samples import prepare as prepare_module
from epam_data.samples.geometry import to_heatmap_pixels
from epam_data.samples.prepare import check_overlap, person_box, prepare
from epam_data.samples.settings import PrepareSettings
from epam_data.samples.video import Box
from epam_data.schema import Clip, Sample
from epam_data.skeleton import COCO17
from epam_data.taxonomy import TAXONOMIES
from tests.data.raw_data import SMALL_HW, background, draw_dot, person, write_recording, write_video

WHOLE = (0, 0, 128, 96)


def box_of(*joints: tuple[float, float], **settings: Any) -> Box:
    points = np.array(joints, np.float64)
    return person_box(points, np.zeros(len(points), bool), SMALL_HW, **settings)


@pytest.mark.parametrize(
    ("joints", "pad_image", "box"),
    [
        # Extents 20 x 40, centre (50, 50): half = 20 * 1.25 = 25 on both sides.
        ([(40, 30), (60, 70)], False, (25, 25, 75, 75)),
        ([(30, 40), (70, 60)], False, (25, 25, 75, 75)),  # the wider side rules, whichever it is
        # Centre (50.7, 50.35), half 20.35 * 1.25 = 25.4375: 25.2625 24.9125 76.1375 75.7875.
        ([(40.5, 30), (60.9, 70.7)], False, (25, 24, 76, 75)),
        # Centre (12, 50): x from -13 to 37; clipped it is not square any more.
        ([(2, 30), (22, 70)], False, (0, 25, 37, 75)),
        ([(2, 30), (22, 70)], True, (-13, 25, 37, 75)),
        # Corners -12.75 and -5.25 become -12 and -5: truncated towards zero, not down.
        ([(2.25, 9.75), (22.25, 49.75)], True, (-12, 4, 37, 54)),
        ([(2.25, -0.25), (22.25, 39.75)], True, (-12, -5, 37, 44)),
        # Beyond the right and the bottom edge.
        ([(90, 50), (120, 90)], False, (80, 45, 128, 95)),
        ([(100, 60), (120, 95)], False, (88, 55, 128, 96)),
        ([(100, 60), (120, 95)], True, (88, 55, 131, 99)),
        # Under 10 px on one side: the whole image, padded or not.
        ([(40, 30), (49.99, 70)], False, WHOLE),
        ([(40, 30), (60, 39.99)], True, WHOLE),
        ([(40, 30), (50, 40)], False, (38, 28, 51, 41)),  # exactly 10 is a person
        # A skeleton beside the image leaves nothing to crop: on its right, left, lower and upper side.
        ([(200, 30), (240, 70)], False, WHOLE),
        ([(-60, 30), (-20, 70)], False, WHOLE),
        ([(40, 140), (80, 180)], False, WHOLE),
        ([(40, -60), (80, -20)], False, WHOLE),
        ([(200, 30), (240, 70)], True, WHOLE),
        ([(-60, 30), (-20, 70)], True, WHOLE),
        ([(40, 140), (80, 180)], True, WHOLE),
        ([(40, -60), (80, -20)], True, WHOLE),
        # A single column or row of the image is something.
        ([(132, 30), (172, 70)], True, (127, 25, 177, 75)),
        ([(-44, 30), (-4, 70)], True, (-49, 25, 1, 75)),
        ([(40, 100), (80, 140)], True, (35, 95, 85, 145)),
        ([(40, -44), (80, -4)], True, (35, -49, 85, 1)),
    ],
)
def test_the_person_box_by_hand(joints: list[tuple[float, float]], pad_image: bool, box: Box) -> None:
    assert box_of(*joints, pad_image=pad_image) == box


def test_padding_and_threshold_are_settings() -> None:
    joints = [(40, 30), (60, 70)]
    assert box_of(*joints, padding=0) == (30, 30, 70, 70)
    assert box_of(*joints, padding=0.5) == (20, 20, 80, 80)
    assert box_of(*joints, threshold_px=20) == (25, 25, 75, 75)
    assert box_of(*joints, threshold_px=21) == WHOLE
    assert box_of((2, 30), (22, 70)) == (0, 25, 37, 75), "the image is not padded unless asked for"


def test_missing_joints_do_not_count() -> None:
    points = np.array([[[40, 30], [60, 70]], [[0, 0], [np.nan, 5]]], np.float64)
    missing = np.array([[False, False], [True, True]])
    assert person_box(points, missing, SMALL_HW) == (25, 25, 75, 75)
    assert person_box(points, np.ones((2, 2), bool), SMALL_HW) == WHOLE


def test_one_box_holds_all_persons_of_all_frames() -> None:
    points = np.array([[[[40, 40]], [[50, 50]]], [[[45, 30]], [[60, 70]]]], np.float64)  # (2, 2, 1, 2)
    assert person_box(points, np.zeros((2, 2, 1), bool), SMALL_HW) == (25, 25, 75, 75)


COORDINATE = st.floats(-40, 160, width=32)


@given(joints=st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=6), pad_image=st.booleans())
def test_a_box_is_sane(joints: list[tuple[float, float]], pad_image: bool) -> None:
    x1, y1, x2, y2 = box = box_of(*joints, pad_image=pad_image)
    assert all(type(side) is int for side in box)
    assert min(x2, 128) > max(x1, 0) and min(y2, 96) > max(y1, 0), "something of the image is inside"
    if not pad_image:
        assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 96
    elif box != WHOLE:
        assert abs((x2 - x1) - (y2 - y1)) <= 2  # truncation towards zero may shorten a side twice
        points = np.array(joints)
        assert (points >= [x1 - 1, y1 - 1]).all() and (points <= [x2 + 1, y2 + 1]).all()


# One clip: a dot follows joint 0, and the skeleton was found at half the video's size.

VIDEO_HW = (120, 160)
NUM_FRAMES = 12


def dot_keypoints() -> np.ndarray:
    """(T, V, 2): joints at whole, even video pixels, so that halves are exact; joint 0 crosses the person."""
    points = np.tile(np.array([[24, 30], [84, 30], [24, 110], [84, 110]], np.float32), (NUM_FRAMES, 5, 1))[:, :17]
    points[:, 0, 0] = 30 + 4 * np.arange(NUM_FRAMES)
    points[:, 0, 1] = 100 - 6 * np.arange(NUM_FRAMES)
    return points


@pytest.fixture(scope="module")
def dot_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dot") / "clip.mp4"
    write_recording(path, dot_keypoints(), VIDEO_HW)
    return path


def dot_clip(video: Path | None, **changes: Any) -> Clip:
    keypoints = dot_keypoints()[None] / 2
    values = {
        "key": "clip",
        "name": "folder/clip",
        "split": "train",
        "label": 9,
        "keypoints": keypoints.astype(np.float16),
        "scores": np.full((1, NUM_FRAMES, 17), 0.75, np.float16),
        "image_size": (60, 80),
        "video": video,
    }
    return Clip(**{**values, **changes})


def run(clip: Clip, **settings: Any) -> tuple[Sample, str | None]:
    return prepare(
        clip, PrepareSettings(**{"rgb_size_px": 112, "heatmap_size_px": 56, **settings}), COCO17, TAXONOMIES["ntu60"]
    )


def brightest(image: np.ndarray) -> np.ndarray:
    """(x, y) centre of the pixels that are near the largest value."""
    grey = image.astype(np.float64) if image.ndim == 2 else image.min(axis=-1).astype(np.float64)
    rows, columns = np.nonzero(grey > 0.85 * grey.max())
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(
    ("pad_image", "padding", "box"),
    [(False, 0.25, (4, 20, 104, 120)), (True, 0.25, (4, 20, 104, 120)), (False, 0.75, (0, 0, 124, 120)),
     (True, 0.75, (-16, 0, 124, 140))],
)  # fmt: skip
def test_frames_and_heatmap_share_one_box(dot_video: Path, pad_image: bool, padding: float, box: Box) -> None:
    """Extents 60 x 80, centre (54, 70): half 50 or 70. The dot lies where the heatmap says that joint 0 is."""
    sample, mended = run(dot_clip(dot_video), pad_image=pad_image, box_padding=padding)
    assert mended is None and sample.info.box == box
    expected = to_heatmap_pixels(dot_keypoints()[:, 0], VIDEO_HW, VIDEO_HW, box, (56, 56))
    for frame in range(NUM_FRAMES):
        channel = sample.heatmap[frame, 0]
        peak = np.array(np.unravel_index(channel.argmax(), channel.shape))[::-1]
        assert np.abs(peak - expected[frame]).max() <= 0.5
        # A pixel's centre is half a pixel in: 112 px frames are twice as fine as the heatmap.
        assert np.abs((brightest(sample.frames[frame]) + 0.5) / 2 - 0.5 - expected[frame]).max() < 0.75


def test_what_a_sample_says_of_itself(dot_video: Path) -> None:
    sample, _ = run(dot_clip(dot_video))
    info = sample.info
    assert (info.key, info.name, info.split, info.label, info.coarse_label) == ("clip", "folder/clip", "train", 9, 5)
    assert (info.num_frames, info.video_frames, info.skeleton_frames) == (NUM_FRAMES,) * 3
    assert (info.image_size, info.video_size) == ((60, 80), VIDEO_HW)
    assert (info.rgb_size_px, info.heatmap_size_px, info.sigma_px) == (112, 56, 0.6)
    assert (info.heatmap_kind, info.heatmap_scale, info.skeleton) == ("joints", 1.0, "coco17")
    assert sample.frames.shape == (NUM_FRAMES, 112, 112, 3)
    assert sample.heatmap.shape == (NUM_FRAMES, 17, 56, 56)


def test_keypoints_are_stored_untouched(dot_video: Path) -> None:
    clip = dot_clip(dot_video)
    keypoints, scores = clip.keypoints.copy(), clip.scores.copy()
    keypoints[0, 3, 5] = np.nan
    scores[0, 4, 6] = np.nan
    for dtype in (np.float16, np.float32):
        clip = dot_clip(dot_video, keypoints=keypoints.astype(dtype), scores=scores.astype(dtype))
        sample, _ = run(clip)
        assert sample.keypoints.dtype == dtype and sample.keypoints.shape == (1, NUM_FRAMES, 17, 3)
        np.testing.assert_array_equal(sample.keypoints[..., :2], keypoints.astype(dtype))
        np.testing.assert_array_equal(sample.keypoints[..., 2], scores.astype(dtype))
        assert not sample.heatmap[3, 5].any() and not sample.heatmap[4, 6].any()
        assert sample.heatmap[3, 6].any() and sample.heatmap[4, 5].any()


def test_scores_set_the_height_and_the_scale(dot_video: Path) -> None:
    scores = np.full((1, NUM_FRAMES, 17), 0.5, np.float16)
    scores[0, 0, 0] = 1.25
    sample, _ = run(dot_clip(dot_video, scores=scores), sigma_px=2)
    assert sample.info.heatmap_scale == 1.25
    assert sample.heatmap[0, 0].max() > 240 and 90 < sample.heatmap[1, 0].max() <= 102
    sample, _ = run(dot_clip(dot_video, scores=scores), sigma_px=2, use_scores=False)
    assert sample.info.heatmap_scale == 1 and sample.heatmap[0, 0].max() > 240 and sample.heatmap[1, 0].max() > 240
    scores[0, 2, 0] = 0
    sample, _ = run(dot_clip(dot_video, scores=scores), sigma_px=2, use_scores=False)
    assert not sample.heatmap[2, 0].any() and sample.heatmap[2, 1].any(), "a missing joint has no height"


def test_scores_of_dropped_frames_and_missing_joints_do_not_set_the_scale(dot_video: Path) -> None:
    scores = np.full((1, NUM_FRAMES + 2, 17), 0.5, np.float16)
    scores[0, -1, 0] = 3
    scores[0, 0, 0] = 2
    keypoints = np.pad(dot_clip(dot_video).keypoints, ((0, 0), (0, 2), (0, 0), (0, 0)), mode="edge")
    keypoints[0, 0, 0] = np.nan
    sample, _ = run(dot_clip(dot_video, scores=scores, keypoints=keypoints))
    assert sample.info.heatmap_scale == 1


def test_limbs_have_a_channel_each(dot_video: Path) -> None:
    keypoints = person(NUM_FRAMES, hw=(60, 80))[None].astype(np.float32)
    scores = np.full((1, NUM_FRAMES, 17), 0.75, np.float32)
    sample, _ = run(dot_clip(dot_video, keypoints=keypoints, scores=scores), heatmap_kind="limbs")
    assert sample.info.heatmap_kind == "limbs" and sample.heatmap.shape == (NUM_FRAMES, 17, 56, 56)
    joints, _ = run(dot_clip(dot_video, keypoints=keypoints, scores=scores))
    assert np.count_nonzero(sample.heatmap) > 2 * np.count_nonzero(joints.heatmap)


@pytest.mark.parametrize("at_once", [1, 7, NUM_FRAMES - 1, NUM_FRAMES, 1000])
@pytest.mark.parametrize("kind", ["joints", "limbs"])
def test_a_heatmap_does_not_depend_on_its_parts(
    dot_video: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, kind: str
) -> None:
    expected, _ = run(dot_clip(dot_video), heatmap_kind=kind)
    monkeypatch.setattr(prepare_module, "_FRAMES_AT_ONCE", at_once)
    sample, _ = run(dot_clip(dot_video), heatmap_kind=kind)
    np.testing.assert_array_equal(sample.heatmap, expected.heatmap)


def test_the_same_clip_gives_the_same_sample(dot_video: Path) -> None:
    one, other = run(dot_clip(dot_video))[0], run(dot_clip(dot_video))[0]
    assert one.info == other.info
    for name in ("frames", "heatmap", "keypoints"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    decord, _ = run(dot_clip(dot_video), decoder="decord")
    np.testing.assert_array_equal(decord.frames, one.frames)


def test_a_hidden_label_has_no_coarse_label(dot_video: Path) -> None:
    info = run(dot_clip(dot_video, label=None))[0].info
    assert info.label is None and info.coarse_label is None


# Lengths of video and skeleton


@pytest.mark.parametrize(
    ("skeleton_frames", "kept", "mended"),
    [
        (NUM_FRAMES - 3, NUM_FRAMES - 3, None),
        (NUM_FRAMES + 4, NUM_FRAMES, None),
        (NUM_FRAMES + 5, NUM_FRAMES, "the video gives 12 frames, the skeleton has 17; the first 12 are used"),
        (NUM_FRAMES - 5, NUM_FRAMES - 5, "the video gives 12 frames, the skeleton has 7; the first 7 are used"),
    ],
)
def test_the_shorter_rules_and_a_large_difference_is_reported(
    dot_video: Path, skeleton_frames: int, kept: int, mended: str | None
) -> None:
    source = np.resize(dot_keypoints() / 2, (skeleton_frames, 17, 2))[None].astype(np.float32)
    clip = dot_clip(dot_video, keypoints=source, scores=np.ones((1, skeleton_frames, 17), np.float32))
    sample, said = run(clip, max_frame_difference=4)
    assert said == mended
    assert sample.info.num_frames == len(sample.frames) == len(sample.heatmap) == sample.keypoints.shape[1] == kept
    assert (sample.info.video_frames, sample.info.skeleton_frames) == (NUM_FRAMES, skeleton_frames)
    np.testing.assert_array_equal(sample.keypoints[..., :2], source[:, :kept])
    if kept == NUM_FRAMES:
        np.testing.assert_array_equal(sample.frames[:2], run(dot_clip(dot_video))[0].frames[:2])


@given(video=st.integers(0, 60), skeleton=st.integers(1, 60))
@example(video=20, skeleton=40)
@example(video=40, skeleton=20)
@example(video=19, skeleton=40)
@example(video=40, skeleton=48)
@example(video=40, skeleton=49)
def test_the_overlap_rule(video: int, skeleton: int) -> None:
    settings = PrepareSettings(max_frame_difference=8, min_overlap=0.5)
    shorter, longer = min(video, skeleton), max(video, skeleton)
    if 2 * shorter < longer:
        message = f"x: the video gives {video} frames, the skeleton has {skeleton}; at least 50% must overlap"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_overlap("x", video, skeleton, settings)
    else:
        assert (check_overlap("x", video, skeleton, settings) is None) is (longer - shorter <= 8)


# Clips that cannot be used


def points(*shape: int) -> dict[str, Any]:
    return {"keypoints": np.ones((*shape, 2), np.float16), "scores": np.ones(shape, np.float16)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 60}, "folder/clip: label must be in 0..59, got 60"),
        (points(1, 12, 28), "folder/clip: coco17 has 17 joints, got 28"),
        (points(0, 12, 17), "folder/clip: no person, got 0 persons and 12 frames"),
        (points(1, 0, 17), "folder/clip: no person, got 1 persons and 0 frames"),
        (
            {"keypoints": np.full((1, 12, 17, 2), np.nan, np.float32), "scores": np.ones((1, 12, 17), np.float32)},
            "folder/clip: no person, every joint of every frame is missing",
        ),
        (
            {"scores": np.zeros((1, 12, 17), np.float16)},
            "folder/clip: no person, every joint of every frame is missing",
        ),
    ],
)
def test_a_clip_that_cannot_be_used_says_why(dot_video: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(dot_clip(dot_video, **changes))


def test_a_clip_without_a_video_says_so() -> None:
    with pytest.raises(ValueError, match=r"^folder/clip: no video found$"):
        run(dot_clip(None))


def test_a_video_of_another_length_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", [background(VIDEO_HW)] * 5)
    message = "folder/clip: the video gives 5 frames, the skeleton has 12; at least 50% must overlap"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(dot_clip(tmp_path / "short.mp4"))


def test_infinite_joints_are_missing_joints(dot_video: Path) -> None:
    keypoints = dot_clip(dot_video).keypoints.copy()
    keypoints[0, :, 3] = np.inf
    sample, _ = run(dot_clip(dot_video, keypoints=keypoints))
    assert sample.info.box == (4, 20, 104, 120) and not sample.heatmap[:, 3].any()


def test_the_dot_is_drawn_where_the_tests_look(dot_video: Path) -> None:
    image = np.zeros((*VIDEO_HW, 3), np.uint8)
    draw_dot(image, 30, 100)
    assert brightest(image).tolist() == [30, 100]
