"""The keypoints of a clip in heatmap pixels, for rendering its heatmap on the device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from epam_data.samples.geometry import to_heatmap_pixels
from epam_data.schema import SampleInfo
from epam_data.skeleton import joint_is_missing
from epam_data.stream.order.draws import Crop


def heatmap_keypoints(
    info: SampleInfo,
    keypoints: NDArray[np.floating],
    crop: Crop,
    size_px: int,
    *,
    use_scores: bool,
    max_persons: int,
) -> NDArray[np.float64]:
    """Centre and height of each joint's Gaussian; without a crop, bit-identical to those of the stored heatmap.

    Args:
        info: geometry of the sample.
        keypoints: (M, T', V, 3) x, y, score of the drawn frames, as stored.
        crop: the part of the stored frame that the heatmap shows.
        size_px: height and width of the heatmap.
        use_scores: the height of a Gaussian is its joint's score, else 1.
        max_persons: persons of the result; if the sample has fewer, the rest are missing.

    Returns:
        (max_persons, T', V, 3) float64: x, y in heatmap pixels, height; height 0 where the joint is missing.

    Raises:
        ValueError: the sample has more than `max_persons`.
    """
    if len(keypoints) > max_persons:
        raise ValueError(f"has {len(keypoints)} persons, stream.max_persons is {max_persons}")
    points, scores = keypoints[..., :2], keypoints[..., 2]
    missing = joint_is_missing(points, scores)
    x1, y1, x2, y2 = info.box
    width, height = x2 - x1, y2 - y1
    box = (x1 + crop[0] * width, y1 + crop[1] * height, x1 + crop[2] * width, y1 + crop[3] * height)
    out = np.zeros((max_persons, *keypoints.shape[1:]))
    persons = out[: len(keypoints)]
    persons[..., :2] = to_heatmap_pixels(points, info.image_size, info.video_size, box, (size_px, size_px))
    persons[..., 2] = scores if use_scores else 1.0
    persons[missing] = 0.0  # some are NaN, which would spread over the whole heatmap
    return out
