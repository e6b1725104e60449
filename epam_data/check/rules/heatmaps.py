"""Compare a stored heatmap volume with the reference, and check properties of any such volume.

Only pixels that are non-zero in one of the two are computed: a volume of 84 frames and 17 joints has 4.5 million
pixels, of which about 20,000 are non-zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epam_data.check.reference import heatmap_points, reference_pixels
from epam_data.schema import SampleInfo
from epam_data.shards.codec import HEATMAP_TOLERANCE
from epam_data.skeleton import SkeletonLayout

Array = NDArray[np.float64]

ROUNDING = 1e-5
"""Share of the scale: the renderer works in float32, the reference in float64."""


@dataclass(frozen=True, kw_only=True)
class HeatmapError:
    """The largest difference of a volume from the reference, and its location."""

    largest: float  # |stored - reference|, as a share of the sample's scale
    frame: int
    channel: int
    x: int
    y: int

    @property
    def allowed(self) -> bool:
        """Whether the difference is within quantisation error."""
        return self.largest <= HEATMAP_TOLERANCE + ROUNDING

    def __str__(self) -> str:
        return (
            f"differs from the reference by {self.largest:.4f} of its scale at frame {self.frame}, channel "
            f"{self.channel}, pixel ({self.x}, {self.y}); allowed: {HEATMAP_TOLERANCE:.4f}"
        )


def heatmap_error(
    info: SampleInfo,
    keypoints: NDArray[np.floating],
    heatmap: NDArray[np.uint8],
    use_scores: bool,
    layout: SkeletonLayout,
) -> HeatmapError:
    """The largest difference from the reference over every pixel.

    Args:
        info: geometry, kind and sigma.
        keypoints: (M, T, V, 3), see `Sample`.
        heatmap: (T, V, h, w) uint8, see `Sample`.
        use_scores: as the manifest says.
        layout: the joints, as the manifest says.
    """
    indices, values = reference_pixels(info, keypoints, use_scores, layout)
    stored = heatmap.ravel()
    errors = np.abs(stored[indices] / 255 - values / info.heatmap_scale)
    covered = np.zeros(stored.size, np.bool_)
    covered[indices] = True
    lone = nonzero_pixels(heatmap)
    lone = lone[~covered[lone]]  # stored pixels where the reference is empty
    indices, errors = np.append(indices, lone), np.append(errors, stored[lone] / 255)
    if not errors.size:
        return HeatmapError(largest=0.0, frame=0, channel=0, x=0, y=0)
    worst = int(errors.argmax())
    frame, channel, y, x = np.unravel_index(indices[worst], heatmap.shape)
    return HeatmapError(largest=float(errors[worst]), frame=int(frame), channel=int(channel), x=int(x), y=int(y))


def property_faults(
    info: SampleInfo,
    keypoints: NDArray[np.floating],
    heatmap: NDArray[np.uint8],
    use_scores: bool,
    layout: SkeletonLayout,
) -> Iterator[str]:
    """Properties of any valid volume: empty channels, peaks at the keypoints, mass and centroid of a Gaussian.

    Only the worst violation of each is reported. Args as `heatmap_error`.
    """
    u, v, height, seen = heatmap_points(info, keypoints, use_scores)
    a, b = np.array(layout.channels(info.heatmap_kind)).T
    drawn = seen[:, :, a] & seen[:, :, b]  # (M, T, C)
    u, v = u[:, :, a], v[:, :, a]
    start, end = height[:, :, a], height[:, :, b]
    height = np.where(drawn, np.minimum(start, end), 0)
    start = np.where(drawn, start, 0)  # upper bound: a limb shorter than a pixel has its start joint's score
    half_level = HEATMAP_TOLERANCE * info.heatmap_scale + ROUNDING

    pixels = nonzero_pixels(heatmap)
    peak = np.zeros(drawn.shape[1:])
    channel = pixels // info.heatmap_size_px**2
    stored = heatmap.ravel()[pixels] * (info.heatmap_scale / 255)
    np.maximum.at(peak.ravel(), channel, stored)
    yield from _worst(peak * ~drawn.any(axis=0), 0, "a channel without a visible joint must be empty, its peak is")
    yield from _worst(peak - start.max(axis=0, initial=0), half_level, "a channel's peak exceeds its joint's score by")
    yield from _worst(_lacking_at_joints(heatmap, u, v, height, info), half_level, "the pixel at a joint is too low by")
    if info.heatmap_kind == "joints" and len(keypoints):
        yield from _moment_faults(stored, pixels, (u, v, height), half_level, info)


def _moment_faults(
    stored: NDArray[np.floating],
    pixels: NDArray[np.int64],
    joints: tuple[Array, Array, Array],
    half_level: float,
    info: SampleInfo,
) -> Iterator[str]:
    """Check mass and centroid of each channel with one person's complete Gaussian.

    Args:
        stored: (n,) heights of the non-zero pixels.
        pixels: (n,) their flat indices.
        joints: u, v and height of each joint, each (M, T, V).
        half_level: most by which rounding changes a pixel.
        info: geometry and sigma.
    """
    size, sigma = info.heatmap_size_px, info.sigma_px
    height = joints[2]
    person = height.argmax(axis=0)[None]
    cx, cy, h = (np.take_along_axis(values, person, axis=0)[0] for values in joints)
    margin = 3 * sigma + 1  # a Gaussian cut by the border has different moments
    uncut = ((height > 0).sum(axis=0) == 1) & (np.minimum(cx, cy) >= margin)
    uncut &= np.maximum(cx, cy) <= size - 1 - margin

    channel, pixel = np.divmod(pixels, size * size)
    y, x = np.divmod(pixel, size)
    mass, mass_x, mass_y = (
        np.bincount(channel, stored * weight, h.size).reshape(h.shape) for weight in (np.ones_like(stored), x, y)
    )
    full = 2 * math.pi * sigma**2 * h
    # The pixel sum differs from the integral, the window ends at 3 sigma, and each pixel is rounded.
    sampling = 4 * math.exp(-2 * (math.pi * sigma) ** 2) + 0.02
    rounding = half_level * (6 * sigma + 2) ** 2
    off = np.where(uncut, np.abs(mass - full) - sampling * full - rounding, 0)
    yield from _worst(off, 0, "the mass of a channel is not that of a Gaussian; error beyond rounding:")
    filled = np.maximum(mass, rounding)
    away = np.maximum(np.abs(mass_x - cx * mass), np.abs(mass_y - cy * mass)) / filled
    off = np.where(uncut, away - 0.03 - sampling - rounding * 1.5 * sigma / filled, 0)
    yield from _worst(off, 0, "the centroid of a channel is off its joint; error in pixels beyond rounding:")


def nonzero_pixels(heatmap: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Flat indices of the non-zero pixels."""
    return np.flatnonzero(heatmap != 0)  # NumPy is four times as fast on booleans as on bytes


def _lacking_at_joints(
    heatmap: NDArray[np.uint8],
    u: Array,
    v: Array,
    height: Array,
    info: SampleInfo,
) -> Array:
    """How far the pixel nearest to each joint is below the joint's Gaussian, maximum over persons: (T, C).

    Persons combine by maximum, so each person's Gaussian is a lower bound.
    """
    size = info.heatmap_size_px
    inside = (height > 0) & (u > -0.5) & (v > -0.5) & (u < size - 0.5) & (v < size - 0.5)
    persons, frames, channels = np.nonzero(inside)
    cx, cy = u[inside], v[inside]
    x, y = np.rint(cx).astype(int).clip(0, size - 1), np.rint(cy).astype(int).clip(0, size - 1)
    own = height[inside] * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * info.sigma_px**2))
    lacking = np.zeros(height.shape)
    lacking[persons, frames, channels] = own - heatmap[frames, channels, y, x] * (info.heatmap_scale / 255)
    most: Array = lacking.max(axis=0, initial=0.0)
    return most


def _worst(values: Array, allowed: float, what: str) -> Iterator[str]:
    """A message about the largest of (T, C) values if it exceeds `allowed`."""
    if values.size and not values.max() <= allowed:  # NaN is beyond any limit
        frame, channel = np.unravel_index(values.argmax(), values.shape)
        yield f"{what} {values.max():.4f} at frame {frame}, channel {channel}"
