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


def test_small_pictures_have_small_numbers():
    check_plausible(make_clip(lambda points: points / 60, image_size=(4, 7)))


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


def test_half_of_the_joints_must_be_near_the_picture():
    check_plausible(share_at(426 * 1.24, 1.0))
    check_plausible(share_at(426 * 1.26, 0.5))
    with pytest.raises(ValueError, match="got x from 200 to 536"):
        check_plausible(share_at(426 * 1.26, 0.51))


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
    check_plausible(make_clip(lambda points: with_outliers(points, 0.06)))


def test_one_point_for_all_missing_joints_is_normal():
    def rarely_found(points: np.ndarray) -> np.ndarray:
        points[:, 1:] = -1
        return points

    clip = make_clip(rarely_found)
    assert (clip.keypoints < 8).all(-1).mean() >= 0.95
    check_plausible(clip)


@pytest.mark.parametrize(("size", "is_refused"), [(16, True), (63, True), (12, True), (8, False)])
def test_fractions_of_a_small_picture(size: int, is_refused: bool):
    points = np.linspace(0, 1.2, 60, dtype=np.float32).reshape(1, 5, 6, 2)
    clip = make_clip(keypoints=points, image_size=(size, size))
    if not is_refused:
        check_plausible(clip)
        return
    with pytest.raises(ValueError, match="which look like fractions of the image"):
        check_plausible(clip)


def test_limits_of_scores():
    check_plausible(make_clip(scores=20.0))
    with pytest.raises(ValueError, match=r"values up to 20\.5"):
        check_plausible(make_clip(scores=20.5))
    assert limit_scores(make_clip(scores=1.5))[1] is None and limit_scores(make_clip(scores=1.6))[1] is not None
