"""Maps keypoints into a crop: plain arithmetic, so that loading imports neither the renderer nor the decoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_heatmap_pixels(
    keypoints: NDArray[np.floating],
    image_size: tuple[int, int],
    video_size: tuple[int, int],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """Map keypoints from skeleton pixels through the video and the crop to an image of `size`.

    Args:
        keypoints: (..., 2) x, y in pixels of `image_size`.
        image_size: (H, W) of the image in which the skeletons were detected.
        video_size: (H, W) of the video.
        box: (x1, y1, x2, y2) of the crop in pixels of the video.
        size: (h, w) of the target: the heatmap, or the cropped frame.

    Returns:
        (..., 2) float64, (k * (W_video / W) - corner) * w / crop width in this order of operations: the bounds of a
        Gaussian's window are truncated, so another order can move one by a pixel. Missing joints (0, 0) move too:
        find them first.
    """
    to_video = np.array([video_size[1] / image_size[1], video_size[0] / image_size[0]])
    corner = np.array(box[:2], np.float64)
    crop = np.array([box[2] - box[0], box[3] - box[1]], np.float64)
    target = np.array([size[1], size[0]], np.float64)
    moved: NDArray[np.float64] = (keypoints.astype(np.float64) * to_video - corner) * target / crop
    return moved
