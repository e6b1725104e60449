"""Coordinates and scores that are something else are told by name; those of real people never are."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from epam_data.readers.pickles import load_pickle
from epam_data.readers.plausible import check_plausible, limit_scores
from epam_data.readers.records import clip_of
from epam_data.schema import Clip
from tests.data.raw_data import person
from tests.paths import SHARED

HW = (240, 426)


def make_clip(change: Callable[[np.ndarray], np.ndarray] = np.asarray, scores: Any = 1.0, **changes: Any) -> Clip:
    """A person who stands in the right half of the picture."""
    points = person(20, hw=(240, 240))[None] * (0.3, 0.9) + (330, 10)
    keypoints = change(points.astype(np.float32)).astype(np.float32)
    values = {"key": "a", "name": "a", "split": "train", "label": 0, "image_size": HW, "keypoints": keypoints}
    return Clip(
        **{
            **values,
            "scores": np.broadcast_to(np.float32(scores), changes.get("keypoints", keypoints).shape[:3]),
            **changes,
        }
    )


SIZE = np.float32([426, 240])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points: points / SIZE, "values from .* which look like fractions of the image, 0 to 1$"),
        (lambda points: points / SIZE * 2 - 1, "which look like metres, or from -1 to 1$"),
        (lambda points: (points - SIZE / 2) / 100, "which look like metres, or from -1 to 1$"),
        (lambda points: points[..., ::-1], "got x from .* y from .*; x and y look swapped$"),
        (
            lambda points: points * 10,
            r"img_shape \(H, W\) = \(240, 426\), got x from [\d.]+ to .*$",
        ),
        (lambda points: points - 2000, r"got x from -\d+ to -\d+"),
    ],
)
def test_what_is_no_pixel_is_refused(change: Callable[[np.ndarray], np.ndarray], message: str):
    with pytest.raises(ValueError, match=rf"^a: keypoint must be .*{message}"):
        check_plausible(make_clip(change))


def nothing_found(points: np.ndarray) -> np.ndarray:
    return np.zeros_like(points)


def missing(points: np.ndarray) -> np.ndarray:
    points[:, ::2], points[:, 1::2, :3] = 0, np.nan
    return points


@pytest.mark.parametrize(
    "change",
    [
        np.asarray,
        nothing_found,
        missing,
        lambda points: points * 0 + np.nan,
        lambda points: points + np.float32([60, 0]),  # a third out of the picture
        lambda points: points + np.float32([0, 150]),  # legs out of the picture
        lambda points: (points - points.mean((0, 1, 2))) * 0.05 + 12,  # small, in a corner
        lambda points: points[..., ::-1] * np.float32([1.0, 0.5]),  # lies on the floor, in the picture
        lambda points: points[:0],  # nobody
    ],
)
def test_people_in_a_picture_are_plausible(change: Callable[[np.ndarray], np.ndarray]):
    check_plausible(make_clip(change))


@pytest.mark.parametrize("size", [(15, 200), (200, 15), (2, 2)])
def test_pictures_that_are_too_small_for_people_are_refused(size: tuple[int, int]):
    with pytest.raises(ValueError, match=rf"^a: img_shape \(H, W\) must be at least 16 x 16 pixels, got \({size[0]}, "):
        check_plausible(make_clip(image_size=size))


def test_scores_are_confidences():
    for score in (0.0, 1.0, 1.4, np.nan):
        clip = make_clip(scores=score)
        check_plausible(clip)
        assert limit_scores(clip) == (clip, None)
    limited, note = limit_scores(make_clip(scores=8.0))
    assert (limited.scores == 1).all() and limited.scores.dtype == np.float32
    assert note == "a: scores up to 8 are no confidences and were limited to 1"
    with pytest.raises(
        ValueError, match=r"^a: keypoint_score must be .* 0 to 1, got values up to 93; divide percentages"
    ):
        check_plausible(make_clip(scores=93.0))


REAL = [*SHARED.glob("real/**/*.pkl"), *SHARED.glob("samples/**/*.pkl"), *SHARED.glob("pose_files/**/*.pkl")]


@pytest.mark.skipif(not REAL, reason="the real sets are not here")
def test_no_real_clip_is_refused():
    """1,804 clips of HRNet, Kinect, MediaPipe and others; and each in wrong units is."""
    tried = refused = 0
    for path in REAL:
        content = load_pickle(path)
        records = content.get("annotations", [content]) if isinstance(content, dict) else content
        for record in records:
            if "keypoint" not in record:
                continue
            clip = clip_of(record, "train", None)
            assert limit_scores(clip)[1] is None
            height, width = clip.image_size
            tried += 1
            try:
                check_plausible(
                    replace(clip, keypoints=clip.keypoints / np.array([width, height], clip.keypoints.dtype))
                )
            except ValueError:
                refused += 1
    assert refused == tried >= 1_800


def share_at(x: float, share: float) -> Clip:
    """A share of the joints at x, the others in the middle of the picture."""
    keypoints = np.full((1, 1, 100, 2), (200, 120), np.float32)
    keypoints[:, :, : round(100 * share), 0] = x
    return make_clip(keypoints=keypoints)


def test_a_third_of_the_joints_must_be_in_the_picture():
    check_plausible(share_at(426, 1.0))
    check_plausible(share_at(440, 0.66))
    with pytest.raises(ValueError, match="got x from 200 to 440"):
        check_plausible(share_at(440, 0.67))


@pytest.mark.parametrize(
    "origin", [lambda points: SIZE / 2, lambda points: points.mean(2, keepdims=True)], ids=["the centre", "the hips"]
)
def test_coordinates_from_another_origin_are_refused(origin: Callable[[np.ndarray], np.ndarray]):
    with pytest.raises(ValueError, match=r"^a: keypoint must be x, y in pixels of img_shape .* got x from -"):
        check_plausible(make_clip(lambda points: points * 0.4 - origin(points * 0.4)))


def test_pixels_of_a_larger_picture_are_refused():
    with pytest.raises(ValueError, match=r"^a: keypoint must be x, y in pixels of img_shape"):
        check_plausible(make_clip(image_size=(HW[0] // 2, HW[1] // 2)))


def parts_of_two(frames: slice, persons: slice) -> Clip:
    """Two persons over 20 frames, of whom some are in fractions."""
    points = np.concatenate([make_clip().keypoints, make_clip().keypoints - np.float32([200, 0])])
    points[persons, frames] /= SIZE
    return make_clip(keypoints=points)


@pytest.mark.parametrize(
    ("frames", "persons", "share"),
    [
        (slice(None), slice(1), "50%"),  # one of two persons
        (slice(10, None), slice(None), "50%"),  # the second half
        (slice(0, None, 10), slice(None), "10%"),  # every tenth frame
    ],
)
def test_a_part_of_a_clip_in_fractions_is_refused(frames: slice, persons: slice, share: str):
    with pytest.raises(ValueError, match=f"look like fractions of the image, 0 to 1, in {share} of the persons and fr"):
        check_plausible(parts_of_two(frames, persons))


def test_a_single_frame_elsewhere_is_a_mistake_of_the_estimator():
    check_plausible(parts_of_two(slice(2), slice(1)))
    with pytest.raises(ValueError, match="in 8% of the persons and frames"):
        check_plausible(parts_of_two(slice(3), slice(1)))


def test_x_and_y_look_swapped_only_if_people_lie():
    standing = make_clip(lambda points: points + np.float32([0, 130]), image_size=(240, 240))
    check_plausible(replace(standing, image_size=(240, 430)))
    with pytest.raises(ValueError, match=r"x and y look swapped$"):
        check_plausible(make_clip(lambda points: points[..., ::-1], image_size=(240, 426)))


def test_the_words_for_small_numbers():
    for low, high, words in ((0.0, 1.4, "fractions of the image"), (0.0, 1.6, "metres"), (-0.1, 1.0, "metres")):
        points = np.linspace(low, high, 60, dtype=np.float32).reshape(1, 5, 6, 2)
        with pytest.raises(ValueError, match=f"which look like {words}"):
            check_plausible(make_clip(keypoints=points))
    seen = np.full((1, 5, 6, 2), 8.0, np.float32)
    check_plausible(make_clip(keypoints=seen))


def with_outliers(points: np.ndarray, share: float) -> np.ndarray:
    """Some joints far off, in the picture, as estimators place them by mistake."""
    flat = (points / SIZE).reshape(-1, 2)
    flat[: round(share * len(flat))] = (200, 100)
    return flat.reshape(points.shape)


def test_a_few_joints_elsewhere_do_not_hide_fractions():
    with pytest.raises(ValueError, match=r"^a: .*from 0\.\d+ to 0\.\d+, which look like fractions of the image"):
        check_plausible(make_clip(lambda points: with_outliers(points, 0.05)))
    with pytest.raises(ValueError, match="in 90% of the persons and frames"):
        check_plausible(make_clip(lambda points: with_outliers(points, 0.1)))


def test_one_point_for_all_missing_joints_is_normal():
    def rarely_found(points: np.ndarray) -> np.ndarray:
        points[:, 1:] = -1
        return points

    clip = make_clip(rarely_found)
    assert (clip.keypoints < 8).all(-1).mean() >= 0.95
    check_plausible(clip)


@pytest.mark.parametrize("size", [16, 63])
def test_fractions_of_a_small_picture(size: int):
    points = np.linspace(0, 1.2, 60, dtype=np.float32).reshape(1, 5, 6, 2)
    clip = make_clip(keypoints=points, image_size=(size, size))
    with pytest.raises(ValueError, match="which look like fractions of the image"):
        check_plausible(clip)


def test_scores_below_0_are_no_confidences():
    scores = np.ones((1, 20, 17), np.float32)
    scores[0, :1] = -0.5
    check_plausible(make_clip(scores=scores))
    check_plausible(make_clip(scores=-1.0))
    scores[0, :10] = -3.5
    with pytest.raises(
        ValueError, match=r"^a: keypoint_score must be .* got 50% negative ones, down to -3\.5; if they"
    ):
        check_plausible(make_clip(scores=scores))


def test_limits_of_scores():
    check_plausible(make_clip(scores=20.0))
    with pytest.raises(ValueError, match=r"values up to 20\.5"):
        check_plausible(make_clip(scores=20.5))
    assert limit_scores(make_clip(scores=1.5))[1] is None and limit_scores(make_clip(scores=1.6))[1] is not None
