"""A second, independent way to draw a heatmap: slow, in float64, straight from the definition.

It shares no code with `heatmap.py`, so that `epam-data check` can compare the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import SampleInfo
from epam_data.skeleton import LAYOUTS

Array = NDArray[np.float64]


def reference_heatmap(info: SampleInfo, keypoints: NDArray[np.floating], use_scores: bool) -> Array:
    """The heatmap volume of a sample, from its stored keypoints.

    Args:
        info: geometry, kind and sigma.
        keypoints: (M, T, V, 3) x, y, score in pixels of `info.image_size`.
        use_scores: the height of a Gaussian is its score, else 1.

    Returns:
        (T, V, h, w) float64; V counts limbs where `info.heatmap_kind` is "limbs".
    """
    x, y, score = np.moveaxis(keypoints.astype(np.float64), -1, 0)
    seen = (score >= 1e-4) & np.isfinite(score) & np.isfinite(x) & np.isfinite(y) & ((x != 0) | (y != 0))
    x1, y1, x2, y2 = info.box
    size = info.heatmap_size_px
    u = (x * (info.video_size[1] / info.image_size[1]) - x1) * size / (x2 - x1)
    v = (y * (info.video_size[0] / info.image_size[0]) - y1) * size / (y2 - y1)
    height = score if use_scores else np.ones_like(score)
    if info.heatmap_kind == "limbs":
        pairs = LAYOUTS[info.skeleton].limbs
    else:
        pairs = tuple((joint, joint) for joint in range(keypoints.shape[2]))
    volume = np.zeros((keypoints.shape[1], len(pairs), size, size))
    for channel, (a, b) in enumerate(pairs):
        for person, frame in np.argwhere(seen[:, :, a] & seen[:, :, b]):
            start, end = ((u[person, frame, j], v[person, frame, j], height[person, frame, j]) for j in (a, b))
            ridge = _ridge(start, end, size, info.sigma_px)
            np.maximum(volume[frame, channel], ridge, out=volume[frame, channel])
    return volume


def _ridge(start: tuple[float, ...], end: tuple[float, ...], size: int, sigma: float) -> Array:
    """Gaussian of the distance to the segment, cut off beyond 3 sigma of the segment's bounding box."""
    (ax, ay, height_a), (bx, by, height_b) = start, end
    length_squared = (bx - ax) ** 2 + (by - ay) ** 2
    height = min(height_a, height_b)
    if length_squared < 1:
        bx, by, height, length_squared = ax, ay, height_a, 0.0
    grid = np.arange(size, dtype=np.float64)
    along: Array | float = 0.0
    if length_squared:
        along = np.clip(((grid - ax) * (bx - ax) + (grid[:, None] - ay) * (by - ay)) / length_squared, 0, 1)
    off_x, off_y = grid - ax - along * (bx - ax), grid[:, None] - ay - along * (by - ay)
    inside = np.outer(_near(ay, by, size, sigma), _near(ax, bx, size, sigma))
    return np.where(inside, height * np.exp(-(off_x**2 + off_y**2) / (2 * sigma**2)), 0.0)


def _near(a: float, b: float, size: int, sigma: float) -> NDArray[np.bool_]:
    """Pixels from trunc(low - 3 sigma) to trunc(high + 3 sigma), both included."""
    pixels = np.arange(size)
    first, last = np.trunc(min(a, b) - 3 * sigma), np.trunc(max(a, b) + 3 * sigma)
    near: NDArray[np.bool_] = (pixels >= first) & (pixels <= last)
    return near
