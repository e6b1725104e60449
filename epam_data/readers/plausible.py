"""Whether a clip's numbers are pixels and scores at all: found from the clip itself, before its video is opened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import Clip
from epam_data.skeleton import posture

_LEAST_PX = 8.0
"""A person whose coordinates stay below this is not in pixels: nobody is that small, in that corner."""

_LEAST_IMAGE_PX = 16
"""Shortest side of a picture in which people are found."""

_SMALL_JOINTS = 0.5
"""Share of a person's joints below `_LEAST_PX` from which the person is: some joints may lie anywhere by mistake."""

_MOST_SMALL = 0.05
"""Share of such persons, over all frames, that may be a mistake of the estimator: of 942 real clips none has one."""

_LEAST_INSIDE = 1 / 3
"""Share of joints that must be in the picture: estimators place hidden ones outside. In real clips, two thirds are."""

_MOST_SWAPPED = 0.95
"""Coordinates look swapped if fewer joints than this are in the image as they are, and more with x and y exchanged."""

_MOST_SCORE = 1.5
"""Scores up to this are taken as they are: some estimators slightly exceed 1."""

_MOST_NEGATIVE = 0.05
"""Share of negative scores that may be rounding or mistakes."""

_MOST_RAW_SCORE = 20.0
"""Scores up to this are raw outputs (SimCC, PoseFlow) and are limited to 1; larger ones are in percent or pixels."""


def check_plausible(clip: Clip) -> None:
    """Refuse coordinates that are not pixels of the clip's image, and scores that are not confidences.

    Raises:
        ValueError: names the clip, what its numbers look like, and what is expected.
    """
    points = _seen(clip.keypoints)
    if len(points):
        _check_units(clip)
        _check_inside(clip, points)
    scores = clip.scores[np.isfinite(clip.scores)]
    negative = scores[(scores < 0) & (scores != -1)]  # -1 stands for a joint that is missing
    if len(negative) > _MOST_NEGATIVE * scores.size:
        raise ValueError(
            f"{clip.name}: keypoint_score must be confidences from 0 to 1, got {len(negative) / scores.size:.0%} "
            f"negative ones, down to {negative.min():.4g}; if they are logits or logarithms, convert them"
        )
    if scores.size and scores.max() > _MOST_RAW_SCORE:
        raise ValueError(
            f"{clip.name}: keypoint_score must be confidences from 0 to 1, got values up to {scores.max():.4g}; "
            "divide percentages by 100"
        )


def limit_scores(clip: Clip) -> tuple[Clip, str | None]:
    """The clip with scores of at most 1 if they are raw outputs of an estimator, not confidences; and a note of it."""
    scores = clip.scores[np.isfinite(clip.scores)]
    if not scores.size or scores.max() <= _MOST_SCORE:
        return clip, None
    limited = replace(clip, scores=np.minimum(clip.scores, clip.scores.dtype.type(1)))
    return limited, f"{clip.name}: scores up to {scores.max():.4g} are no confidences and were limited to 1"


def _seen(keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 2) the joints that were found: finite, and neither (0, 0) nor (-1, -1)."""
    points = keypoints.reshape(-1, 2).astype(np.float64)
    seen: NDArray[np.float64] = points[np.isfinite(points).all(1) & points.any(1) & (points != -1).any(1)]
    return seen


def _check_units(clip: Clip) -> None:
    """Each person of each frame by itself: part of a clip may be in other units."""
    if min(clip.image_size) < _LEAST_IMAGE_PX:
        raise ValueError(
            f"{clip.name}: img_shape (H, W) must be at least {_LEAST_IMAGE_PX} x {_LEAST_IMAGE_PX} pixels, "
            f"got {clip.image_size}"
        )
    points = clip.keypoints.astype(np.float64)
    found = np.isfinite(points).all(-1) & points.any(-1)  # (M, T, V)
    count = found.sum(-1)
    near_corner = found & (np.abs(points).max(-1) < min(_LEAST_PX, min(clip.image_size) / 8))
    is_small = (count >= 3) & (near_corner.sum(-1) >= _SMALL_JOINTS * count)
    # One point, such as (-1, -1), stands for joints that are missing.
    low, high = (np.where(near_corner[..., None], points, end) for end in (np.inf, -np.inf))
    is_small &= (high.max(2) > low.min(2)).any(-1)
    if is_small.sum() <= _MOST_SMALL * (count >= 3).sum():
        return
    small = points[near_corner & is_small[..., None]]
    least, most = small.min(), small.max()
    looks = "fractions of the image, 0 to 1" if least >= 0 and most <= 1.5 else "metres, or from -1 to 1"
    share = is_small.sum() / (count >= 3).sum()
    where = "" if share > 0.95 else f", in {share:.0%} of the persons and frames"
    raise ValueError(
        f"{clip.name}: keypoint must be in pixels of img_shape {clip.image_size}, "
        f"got values from {least:.3g} to {most:.3g}, which look like {looks}{where}"
    )


def _check_inside(clip: Clip, points: NDArray[np.float64]) -> None:
    height, width = clip.image_size
    inside, swapped = (_share_inside(each, height, width) for each in (points, points[:, ::-1]))
    is_swapped = inside < _MOST_SWAPPED < swapped and posture(clip.keypoints) == "lies"
    if inside >= _LEAST_INSIDE and not is_swapped:
        return
    low, high = points.min(0), points.max(0)
    hint = "; x and y look swapped" if is_swapped or swapped > _MOST_SWAPPED else ""
    raise ValueError(
        f"{clip.name}: keypoint must be x, y in pixels of img_shape (H, W) = {clip.image_size}, "
        f"got x from {low[0]:.4g} to {high[0]:.4g}, y from {low[1]:.4g} to {high[1]:.4g}{hint}"
    )


def _share_inside(points: NDArray[np.float64], height: int, width: int) -> float:
    return float(((points >= 0) & (points <= np.array([width, height]))).all(1).mean())
