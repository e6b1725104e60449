"""Keypoints -> Gaussian heatmap volumes: one channel per joint, or one per limb.

This follows MMAction2's `GeneratePoseTarget` with two differences: a joint that is missing in skeleton pixels (both
coordinates 0, or NaN) renders nothing, and limbs have separate channels. The bounds of a window are computed in
float64: mu +- 3 sigma in float32 falls on the other side of an integer about once per clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import index
from typing import Any, SupportsIndex, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from epam_data.skeleton import MISSING_SCORE, joint_is_missing

Function = TypeVar("Function", bound=Callable[..., Any])


def draw_joints(
    keypoints: NDArray[np.floating], scores: NDArray[np.floating], size: tuple[int, int], sigma_px: float
) -> NDArray[np.float32]:
    """One Gaussian per visible joint; persons combine by maximum.

    Args:
        keypoints: (M, T, V, 2) x, y in heatmap pixels, any float type; NaN marks a missing joint.
        scores: (M, T, V); the height of each Gaussian. Below 1e-4 or not finite: missing.
        size: (h, w) of the heatmap.
        sigma_px: standard deviation in heatmap pixels.

    Returns:
        (T, V, h, w) float32, 0 to the largest score.
    """
    points, weights = _masked(keypoints, scores)
    _, num_frames, num_joints, _ = points.shape
    out = np.zeros((num_frames, num_joints, *size), np.float32)
    _render_joints(out, points, weights, _check_sigma(sigma_px))
    return out


def draw_limbs(
    keypoints: NDArray[np.floating],
    scores: NDArray[np.floating],
    limbs: tuple[tuple[int, int], ...],
    size: tuple[int, int],
    sigma_px: float,
) -> NDArray[np.float32]:
    """One ridge per limb: the Gaussian of the distance to the segment, scaled by the lower score of its ends.

    Args:
        keypoints: (M, T, V, 2) x, y in heatmap pixels; NaN marks a missing joint.
        scores: (M, T, V).
        limbs: L pairs (start, end) of joints.
        size: (h, w) of the heatmap.
        sigma_px: standard deviation in heatmap pixels.

    Returns:
        (T, L, h, w) float32. A limb with a missing end is empty; a limb shorter than a pixel is only its start point.
    """
    points, weights = _masked(keypoints, scores)
    out = np.zeros((points.shape[1], len(limbs), *size), np.float32)
    _render_limbs(out, points, weights, np.array(limbs, np.int64).reshape(len(limbs), 2), _check_sigma(sigma_px))
    return out


def generate_pose_heatmap(
    keypoints: NDArray[np.floating],
    img_size: SupportsIndex | tuple[SupportsIndex, SupportsIndex] = 56,
    sigma: float = 0.6,
) -> NDArray[np.float32]:
    """The joint heatmap of one person, for use without the rest of this package.

    Args:
        keypoints: (T, V, 3) x, y, score in the pixels of the heatmap.
        img_size: height and width of the heatmap, whole numbers of Python or NumPy; a single one for a square.
        sigma: standard deviation in heatmap pixels.

    Returns:
        (V, T, H, W) float32.

    Raises:
        ValueError: `keypoints` has the wrong shape, or `img_size` is not one or two whole numbers above 0.
    """
    keypoints = np.asarray(keypoints)
    if keypoints.ndim != 3 or keypoints.shape[-1] != 3:
        raise ValueError(f"keypoints must be (T, V, 3): x, y, score; got {keypoints.shape}")
    size = _heatmap_size(img_size)
    xy, scores = keypoints[None, ..., :2], keypoints[None, ..., 2]
    volume = draw_joints(xy, np.where(joint_is_missing(xy, scores), 0.0, scores), size, sigma)
    return np.ascontiguousarray(volume.swapaxes(0, 1))


def quantise(heatmap: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """Round a heatmap to 255 levels of `scale`; the error is at most 0.5 / 255 of `scale` per pixel."""
    levels: NDArray[np.uint8] = np.rint(heatmap * np.float32(255.0 / scale)).astype(np.uint8)
    return levels


def heatmap_scale(scores: NDArray[np.floating]) -> float:
    """The value of a stored 255: 1, or the largest score if scores exceed 1."""
    finite = scores[np.isfinite(scores)]
    return max(1.0, float(finite.max())) if finite.size else 1.0


def _heatmap_size(img_size: Any) -> tuple[int, int]:
    """(h, w) of what a caller gave: one number or two, of Python, NumPy or an array of NumPy."""
    try:
        sides = [index(side) for side in (img_size if np.ndim(img_size) else (img_size, img_size))]
    except (TypeError, ValueError):
        sides = []
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"img_size must be a whole number of pixels, or height and width, got {str(img_size)[:80]}")
    return sides[0], sides[1]


def _check_sigma(sigma_px: float) -> float:
    if not sigma_px > 0:
        raise ValueError(f"sigma must be > 0 heatmap pixels, got {sigma_px}")
    return float(sigma_px)


def _masked(
    keypoints: NDArray[np.floating], scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contiguous float64 copies; missing joints get weight 0."""
    if keypoints.ndim != 4 or keypoints.shape[-1] != 2 or scores.shape != keypoints.shape[:3]:
        raise ValueError(
            f"keypoints must be (M, T, V, 2) and scores (M, T, V), got {keypoints.shape} and {scores.shape}"
        )
    # (0, 0) does not mean a missing joint here: in crop pixels it is the corner.
    heights = scores.astype(np.float64)  # 1e-4 in float32 is slightly less than in float64
    visible = np.isfinite(keypoints).all(axis=-1) & np.isfinite(heights) & (heights >= MISSING_SCORE)
    weights = np.where(visible, heights, 0.0)
    return np.ascontiguousarray(keypoints, np.float64), np.ascontiguousarray(weights)


def _compiled(function: Function) -> Function:
    """`function`, compiled at its first call; the result is kept on disk, where a folder for it can be written."""
    try:
        made: Function = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package nor a home folder can: each process compiles for itself
        made = numba.njit(nogil=True)(function)
    return made


@_compiled
def _window(low_px: float, high_px: float, sigma: float, length: int) -> tuple[int, int]:
    """First pixel within 3 sigma of [low, high], and one past the last; both are truncated towards zero."""
    # Clamped as floats: a joint far outside the image would overflow an integer.
    first = min(max(low_px - 3.0 * sigma, 0), length)
    end = min(max(np.trunc(high_px + 3.0 * sigma) + 1, 0), length)
    return int(first), int(end)


@_compiled
def _render_joints(
    out: NDArray[np.float32], points: NDArray[np.float64], weights: NDArray[np.float64], sigma: float
) -> None:
    num_persons, num_frames, num_joints = weights.shape
    height, width = out.shape[2:]
    falloff = -0.5 / (sigma * sigma)
    column = np.empty(width)
    for frame in range(num_frames):
        for joint in range(num_joints):
            for person in range(num_persons):
                weight = weights[person, frame, joint]
                if weight == 0.0:
                    continue
                mu_x, mu_y = points[person, frame, joint]
                x1, x2 = _window(mu_x, mu_x, sigma, width)
                y1, y2 = _window(mu_y, mu_y, sigma, height)
                for x in range(x1, x2):
                    column[x] = math.exp(falloff * (x - mu_x) ** 2)
                for y in range(y1, y2):
                    row_weight = weight * math.exp(falloff * (y - mu_y) ** 2)
                    for x in range(x1, x2):
                        out[frame, joint, y, x] = max(out[frame, joint, y, x], np.float32(row_weight * column[x]))


@_compiled
def _render_limbs(
    out: NDArray[np.float32],
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    limbs: NDArray[np.int64],
    sigma: float,
) -> None:
    height, width = out.shape[2:]
    falloff = -0.5 / (sigma * sigma)
    for frame in range(out.shape[0]):
        for limb in range(limbs.shape[0]):
            start, end = limbs[limb]
            for person in range(weights.shape[0]):
                weight = min(weights[person, frame, start], weights[person, frame, end])
                if weight == 0.0:
                    continue
                ax, ay = points[person, frame, start]
                bx, by = points[person, frame, end]
                dx, dy = bx - ax, by - ay
                squared_length = dx * dx + dy * dy
                if squared_length < 1.0:
                    # A point: window and height come from the start joint only.
                    weight = weights[person, frame, start]
                    bx, by, dx, dy = ax, ay, 0.0, 0.0
                x1, x2 = _window(min(ax, bx), max(ax, bx), sigma, width)
                y1, y2 = _window(min(ay, by), max(ay, by), sigma, height)
                for y in range(y1, y2):
                    for x in range(x1, x2):
                        along = ((x - ax) * dx + (y - ay) * dy) / max(squared_length, 1.0)
                        along = min(max(along, 0.0), 1.0)
                        off_x, off_y = x - ax - along * dx, y - ay - along * dy
                        value = np.float32(weight * math.exp(falloff * (off_x * off_x + off_y * off_y)))
                        out[frame, limb, y, x] = max(out[frame, limb, y, x], value)
