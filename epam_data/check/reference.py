"""A second, independent heatmap renderer: in float64, directly from the definition.

It shares no code with `heatmap.py`, so that `epam-data check` can compare the two. It has two forms, which the tests
compare: `reference_heatmap`, slow and obvious, and `reference_pixels`, the same numbers but only for pixels inside a
Gaussian's window; all others are 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import SampleInfo
from epam_data.skeleton import SkeletonLayout

Array = NDArray[np.float64]


def reference_heatmap(
    info: SampleInfo, keypoints: NDArray[np.floating], use_scores: bool, layout: SkeletonLayout
) -> Array:
    """The heatmap volume of a sample, from its stored keypoints.

    Args:
        info: geometry, kind and sigma.
        keypoints: (M, T, V, 3) x, y, score in pixels of `info.image_size`.
        use_scores: the height of a Gaussian is its score, else 1.
        layout: the joints and limbs.

    Returns:
        (T, V, h, w) float64; V counts limbs where `info.heatmap_kind` is "limbs".
    """
    u, v, height, seen = heatmap_points(info, keypoints, use_scores)
    pairs = layout.channels(info.heatmap_kind)
    size = info.heatmap_size_px
    volume = np.zeros((keypoints.shape[1], len(pairs), size, size))
    for channel, (a, b) in enumerate(pairs):
        for person, frame in np.argwhere(seen[:, :, a] & seen[:, :, b]):
            start, end = ((u[person, frame, j], v[person, frame, j], height[person, frame, j]) for j in (a, b))
            ridge = _ridge(start, end, size, info.sigma_px)
            np.maximum(volume[frame, channel], ridge, out=volume[frame, channel])
    return volume


def reference_pixels(
    info: SampleInfo, keypoints: NDArray[np.floating], use_scores: bool, layout: SkeletonLayout
) -> tuple[NDArray[np.int64], Array]:
    """The pixels of `reference_heatmap` that may be non-zero.

    Returns:
        indices: (n,) flat indices into the (T, V, h, w) volume, each once.
        values: (n,) float64.
    """
    u, v, height, seen = heatmap_points(info, keypoints, use_scores)
    pairs = np.array(layout.channels(info.heatmap_kind))
    size, sigma = info.heatmap_size_px, info.sigma_px
    a, b = pairs.T
    persons, frames, channels = np.nonzero(seen[:, :, a] & seen[:, :, b])
    starts, ends = (persons, frames, a[channels]), (persons, frames, b[channels])
    ax, ay, bx, by = u[starts], v[starts], u[ends], v[ends]
    squared = (bx - ax) ** 2 + (by - ay) ** 2
    point = squared < 1  # rendered as its start point
    tall = np.where(point, height[starts], np.minimum(height[starts], height[ends]))
    bx, by, squared = np.where(point, ax, bx), np.where(point, ay, by), np.where(point, 1, squared)

    columns = _window(np.minimum(ax, bx), np.maximum(ax, bx), size, sigma)
    rows = _window(np.minimum(ay, by), np.maximum(ay, by), size, sigma)
    of, x, y = _pixels(columns, rows)
    dx, dy = (bx - ax)[of], (by - ay)[of]
    off_x, off_y = x - ax[of], y - ay[of]
    along = np.clip((off_x * dx + off_y * dy) / squared[of], 0, 1)
    distance = (off_x - along * dx) ** 2 + (off_y - along * dy) ** 2
    values = tall[of] * np.exp(-distance / (2 * sigma**2))
    indices = ((frames * len(pairs) + channels)[of] * size + y) * size + x
    return _largest_at_each(indices, values, persons)


def heatmap_points(
    info: SampleInfo, keypoints: NDArray[np.floating], use_scores: bool
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """x, y in heatmap pixels, height of the Gaussian, and whether the joint is visible; each (M, T, V)."""
    x, y, score = np.moveaxis(keypoints.astype(np.float64), -1, 0)
    seen = (score >= 1e-4) & np.isfinite(score) & np.isfinite(x) & np.isfinite(y) & ((x != 0) | (y != 0))
    x1, y1, x2, y2 = info.box
    size = info.heatmap_size_px
    u = (x * (info.video_size[1] / info.image_size[1]) - x1) * size / (x2 - x1)
    v = (y * (info.video_size[0] / info.image_size[0]) - y1) * size / (y2 - y1)
    return u, v, score if use_scores else np.ones_like(score), seen


def _largest_at_each(
    indices: NDArray[np.int64], values: Array, persons: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Array]:
    """Each index once, with its largest value; persons may overlap."""
    if not persons.size or persons[0] == persons[-1]:  # one person: no index occurs twice
        return indices, values
    order = np.lexsort((-values, indices))
    indices, values = indices[order], values[order]
    first = np.append(True, indices[1:] != indices[:-1])
    return indices[first], values[first]


def _pixels(
    columns: tuple[NDArray[np.int64], NDArray[np.int64]], rows: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Window number, x and y of every pixel of windows of different sizes, window after window."""
    (x1, x2), (y1, y2) = columns, rows
    wide, high = np.maximum(x2 - x1, 0), np.maximum(y2 - y1, 0)
    areas = wide * high
    of = np.repeat(np.arange(len(areas)), areas)
    within = np.arange(areas.sum()) - np.repeat(np.cumsum(areas) - areas, areas)
    row, column = np.divmod(within, wide[of])
    return of, x1[of] + column, y1[of] + row


def _window(low: Array, high: Array, size: int, sigma: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel, and one past the last, from trunc(low - 3 sigma) to trunc(high + 3 sigma), inside the heatmap."""
    first = np.clip(np.trunc(low - 3 * sigma), 0, size)
    last = np.clip(np.trunc(high + 3 * sigma), -1, size - 1)
    return first.astype(np.int64), last.astype(np.int64) + 1


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
