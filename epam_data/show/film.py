"""Write a sample as a video: frame, skeleton and heatmap side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from epam_data.samples.video_writer import write_video
from epam_data.schema import Sample
from epam_data.show.picture import overlay
from epam_data.skeleton import SkeletonLayout

_FPS = 30  # of all built-in data sets
_FONT_PX, _LINE_PX = 16, 22


def write_film(sample: Sample, path: Path, caption: Sequence[str] = (), layout: SkeletonLayout | None = None) -> None:
    """Write the `overlay` of every frame, with the lines of a caption below.

    Args:
        sample: the sample to show.
        path: the video; its ending selects the container (.mp4, .mkv, ...).
        caption: lines of text.
        layout: see `overlay`.

    Raises:
        ValueError: FFmpeg has no container for the ending.
    """
    numbers = range(sample.info.num_frames)
    images = (_with_caption(overlay(sample, number, layout=layout), caption) for number in numbers)
    write_video(path, images, fps=_FPS, options={"crf": "18", "preset": "veryfast"})


def _with_caption(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    """The picture with white text on black below it."""
    if not lines:
        return image
    font = ImageFont.load_default(_FONT_PX)
    sheet = Image.new("RGB", (image.width, image.height + (len(lines) + 1) * _LINE_PX))
    sheet.paste(image, (0, 0))
    for number, line in enumerate(lines):
        ImageDraw.Draw(sheet).text((_LINE_PX // 2, image.height + (number + 0.5) * _LINE_PX), line, font=font)
    return sheet
