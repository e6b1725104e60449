"""Whether a clip's numbers are pixels and scores at all: found from the clip itself, before its video is opened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import Clip

_LEAST_PX = 8.0
"""A clip whose coordinates all stay below this is not in pixels: nobody is that small, in that corner, all the time."""

_MOST_SMALL = 0.95
"""Share of joints below `_LEAST_PX` from which a clip is not in pixels: some joints may lie anywhere by mistake."""

_LEAST_INSIDE = 0.5
"""Share of joints that must be in the image, or near it. Estimators may place some hidden joints outside, not most."""

_MOST_SWAPPED = 0.95
"""Coordinates look swapped if fewer joints than this are in the image as they are, and more with x and y exchanged."""

_MARGIN = 0.25
"""How far outside still counts as near, as a share of the image's height and width."""

_MOST_SCORE = 1.5
"""Scores up to this are taken as they are: some estimators slightly exceed 1."""

_MOST_RAW_SCORE = 20.0
"""Scores up to this are raw outputs (SimCC, PoseFlow) and are limited to 1; larger ones are in percent or pixels."""


def check_plausible(clip: Clip) -> None:
    """Refuse coordinates that are not pixels of the clip's image, and scores that are not confidences.

    Raises:
        ValueError: names the clip, what its numbers look like, and what is expected.
    """
    points = _seen(clip.keypoints)
    if len(points):
        _check_units(clip, points)
        _check_inside(clip, points)
    scores = clip.scores[np.isfinite(clip.scores)]
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
    """(N, 2) the joints that were found: finite and not (0, 0)."""
    points = keypoints.reshape(-1, 2).astype(np.float64)
    return points[np.isfinite(points).all(1) & points.any(1)]


def _check_units(clip: Clip, points: NDArray[np.float64]) -> None:
    is_small = np.abs(points).max(1) < min(_LEAST_PX, min(clip.image_size) / 8)
    if is_small.mean() < _MOST_SMALL:
        return
    small = points[is_small]
    low, high = small.min(), small.max()
    if not np.ptp(small, axis=0).any():  # one point, such as (-1, -1), stands for joints that are missing
        return
    looks = "fractions of the image, 0 to 1" if low >= 0 and high <= 1.5 else "metres, or from -1 to 1"
    raise ValueError(
        f"{clip.name}: keypoint must be in pixels of img_shape {clip.image_size}, "
        f"got values from {low:.3g} to {high:.3g}, which look like {looks}"
    )


def _check_inside(clip: Clip, points: NDArray[np.float64]) -> None:
    height, width = clip.image_size
    near = _share_inside(points, height, width, _MARGIN)
    inside, swapped = (_share_inside(each, height, width) for each in (points, points[:, ::-1]))
    is_swapped = inside < _MOST_SWAPPED < swapped and _lies_down(clip.keypoints)
    if near >= _LEAST_INSIDE and not is_swapped:
        return
    low, high = points.min(0), points.max(0)
    hint = "; x and y look swapped" if is_swapped or swapped > _MOST_SWAPPED else ""
    raise ValueError(
        f"{clip.name}: keypoint must be x, y in pixels of img_shape (H, W) = {clip.image_size}, "
        f"got x from {low[0]:.4g} to {high[0]:.4g}, y from {low[1]:.4g} to {high[1]:.4g}{hint}"
    )


def _share_inside(points: NDArray[np.float64], height: int, width: int, margin: float = 0.0) -> float:
    size = np.array([width, height])
    inside = (points >= -margin * size) & (points <= (1 + margin) * size)
    return float(inside.all(1).mean())


def _lies_down(keypoints: NDArray[np.floating]) -> bool:
    """Whether people are wider than tall most of the time, as standing people are whose x and y are swapped."""
    found = np.isfinite(keypoints).all(-1) & keypoints.any(-1)  # (M, T, V)
    enough = found.sum(-1) >= 3
    if not enough.any():
        return False
    low = np.where(found[..., None], keypoints, np.inf).astype(np.float64).min(2)[enough]
    high = np.where(found[..., None], keypoints, -np.inf).astype(np.float64).max(2)[enough]
    width, height = (high - low).T
    return bool(np.median(width - height) > 0)
