"""Pictures of a sample: a frame with its skeleton and its heatmap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from epam_data.heatmap import to_heatmap_pixels
from epam_data.schema import Sample
from epam_data.skeleton import LAYOUTS, joint_is_missing

_HOT = np.array([255.0, 60.0, 20.0])  # colour of a heatmap's peak
_BONE, _JOINT = (60, 230, 120), (255, 255, 255)


def overlay(sample: Sample, frame: int, *, flip: bool = False) -> Image.Image:
    """Frame, frame with skeleton, and frame under its heatmap, side by side.

    Args:
        sample: what to show.
        frame: 0 ... T - 1.
        flip: show the mirror image (of frame and heatmap, without the skeleton).
    """
    rgb = sample.frames[frame]
    heat = sample.heatmap[frame].max(axis=0)
    if flip:
        rgb, heat = rgb[:, ::-1], heat[:, ::-1]
    plain = Image.fromarray(np.ascontiguousarray(rgb))
    panels = [plain, _with_heatmap(rgb, heat)]
    if not flip:
        panels.insert(1, _with_skeleton(plain, sample, frame))
    size = sample.info.rgb_size_px
    sheet = Image.new("RGB", (size * len(panels), size))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number * size, 0))
    return sheet


def contact_sheet(sample: Sample, num_frames: int = 4) -> Image.Image:
    """`overlay` of evenly spaced frames, one below the other."""
    rows = [overlay(sample, int(frame)) for frame in np.linspace(0, sample.info.num_frames - 1, num_frames)]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * row.height))
    return sheet


def _with_heatmap(rgb: NDArray[np.uint8], heat: NDArray[np.uint8]) -> Image.Image:
    size = (rgb.shape[1], rgb.shape[0])
    weight = np.asarray(Image.fromarray(np.ascontiguousarray(heat)).resize(size, Image.Resampling.BILINEAR))
    share = weight[..., None].astype(np.float64) / 255
    return Image.fromarray((rgb * (1 - share) * 0.75 + _HOT * share).astype(np.uint8))


def _with_skeleton(plain: Image.Image, sample: Sample, frame: int) -> Image.Image:
    image, info = plain.copy(), sample.info
    draw = ImageDraw.Draw(image)
    xy, scores = sample.keypoints[:, frame, :, :2], sample.keypoints[:, frame, :, 2]
    points = to_heatmap_pixels(xy, info.image_size, info.video_size, info.box, image.size)
    radius = max(1.0, image.width / 90)
    for person, missing in zip(points, joint_is_missing(xy, scores), strict=True):
        for a, b in LAYOUTS[info.skeleton].limbs:
            if not (missing[a] or missing[b]):
                draw.line([tuple(person[a]), tuple(person[b])], fill=_BONE, width=max(1, round(radius)))
        for (x, y), gone in zip(person, missing, strict=True):
            if not gone:
                draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_JOINT)
    return image
