"""Whether a skeleton was made in pictures like the video's: the shapes tell, and some differences can be undone."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from epam_data.schema import Clip
from epam_data.skeleton import joint_is_missing, posture

_MOST_STRETCH = 0.03
"""Aspect ratios may differ by this share: sizes are rounded when pictures are resized, and codecs pad to 16 pixels."""

_LEAST_INSIDE = 0.98
"""Share of the joints that must be in a picture for its shape to be the right one."""


class VideoShape(NamedTuple):
    """The pictures of a video."""

    size: tuple[int, int]
    """(H, W) of the upright frames, in pixels."""
    turns: int = 0
    """Counter-clockwise quarter turns that made the stored frames upright."""
    pixel_aspect: float = 1.0
    """Width of a pixel by its height when shown, upright."""
    note: str | None = None
    """Which of several video streams this is."""


def fit_to_video(clip: Clip, shape: VideoShape) -> tuple[Clip, str | None]:
    """The clip with its skeleton in the upright pictures of its video, and what had to be changed (None: nothing).

    Pictures of the video's aspect ratio, at any scale, are as they must be; so are those that a player shows of a video
    whose pixels are not square. An `img_shape` of exchanged height and width is exchanged back. A skeleton made in the
    stored, lying frames of a turned video is turned with them. Where the joints fit both, the people tell: in lying
    frames, they are wider than tall.

    Raises:
        ValueError: the shapes differ in another way; names both.
    """
    height, width = clip.image_size
    if _fits(clip.image_size, shape.size) or _fits(clip.image_size, shape.size, shape.pixel_aspect):
        return clip, _stretched(shape.pixel_aspect)
    if _fits((width, height), shape.size):
        lies = _share_inside(clip, height, width) >= _LEAST_INSIDE
        stands = _share_inside(clip, width, height) >= _LEAST_INSIDE
        if lies and shape.turns % 2 and not (stands and posture(clip.keypoints) == "stands"):
            return _turned(clip, shape.turns), (
                f"img_shape {clip.image_size} is that of the stored frames of a turned video, the skeleton was turned"
            )
        if stands:
            return replace(clip, image_size=(width, height)), (
                f"img_shape {clip.image_size} has height and width exchanged, taken as {(width, height)}"
            )
    raise ValueError(
        f"{clip.name}: img_shape (H, W) = {clip.image_size} does not fit the video, which is {shape.size}; "
        "expected the size of the pictures in which the skeleton was found, in the video's aspect ratio"
    )


def _stretched(pixel_aspect: float) -> str | None:
    """A note on pixels that are not square: frames, boxes and heatmaps are in stored pixels."""
    if abs(pixel_aspect - 1) <= _MOST_STRETCH:
        return None
    return f"the video's pixels are {pixel_aspect:.3g} times as wide as high, and its frames are stored as they are"


def _fits(image: tuple[int, int], video: tuple[int, int], pixel_aspect: float = 1.0) -> bool:
    """Whether two (H, W) have one aspect ratio, up to the rounding of a side to whole pixels."""
    across, along = image[1] * video[0], image[0] * video[1] * pixel_aspect
    rounding = max(video) * max(pixel_aspect, 1)
    return abs(across - along) <= max(_MOST_STRETCH * along, rounding)


def _share_inside(clip: Clip, height: int, width: int) -> float:
    points = clip.keypoints[~joint_is_missing(clip.keypoints, clip.scores)]
    if not len(points):
        return 1.0
    inside = np.logical_and(points >= 0, points <= np.array([width, height], np.float64))
    return float(inside.all(axis=-1).mean())


def _turned(clip: Clip, turns: int) -> Clip:
    """The clip as `np.rot90` turns its pictures, an odd number of times; missing joints stay where they are."""
    height, width = clip.image_size
    x, y = np.moveaxis(clip.keypoints, -1, 0)
    last_x, last_y = clip.keypoints.dtype.type(width - 1), clip.keypoints.dtype.type(height - 1)
    turned = np.stack((y, last_x - x) if turns % 4 == 1 else (last_y - y, x), axis=-1)
    missing = joint_is_missing(clip.keypoints, clip.scores)
    return replace(clip, keypoints=np.where(missing[..., None], clip.keypoints, turned), image_size=(width, height))
