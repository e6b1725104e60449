"""Pictures and videos of the attention map over the RGB frames that it weights."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = ("picture", "video")
_HOT = np.array([255.0, 60.0, 20.0])
_STRENGTH = 0.65  # share of the colour where attention is highest
_COLUMNS = 8
_FPS = 8


def attention_frames(frames: NDArray[np.uint8], attention: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Frames under their attention.

    Args:
        frames: (T, S, S, 3) uint8.
        attention: (T, H, W) in 0 ... 1; spread over the clip's own range, so that maps of any strength can be seen.

    Returns:
        (T, S, S, 3) uint8.

    Raises:
        ValueError: numbers of frames differ.
    """
    if len(frames) != len(attention):
        raise ValueError(f"frames and attention must be of one length, got {len(frames)} and {len(attention)}")
    low, high = float(attention.min()), float(attention.max())
    spread = (attention - low) / (high - low) if high > low else np.zeros_like(attention)
    size = (frames.shape[2], frames.shape[1])
    weights = np.stack(
        [
            np.asarray(Image.fromarray(each.astype(np.float32), mode="F").resize(size, Image.Resampling.BILINEAR))
            for each in spread
        ]
    )
    share = _STRENGTH * weights[..., None].clip(0, 1)
    return np.asarray((frames * (1 - share) + _HOT * share).astype(np.uint8))


def write_overlay(
    path: Path, frames: NDArray[np.uint8], attention: NDArray[np.floating], *, kind: str = "picture"
) -> Path:
    """Write a sheet of all frames (`.png`) or a video (`.mp4`) of a clip; arguments as in `attention_frames`.

    Args:
        path: without an ending.
        frames: (T, S, S, 3) uint8.
        attention: (T, H, W).
        kind: `picture` or `video`.

    Returns:
        The file.

    Raises:
        ValueError: the kind is unknown, or numbers of frames differ.
    """
    if kind not in KINDS:
        raise ValueError(f"overlay_kind must be one of {', '.join(KINDS)}, got {kind!r}")
    images = [Image.fromarray(frame) for frame in attention_frames(frames, attention)]
    target = path.with_name(path.name + {"picture": ".png", "video": ".mp4"}[kind])
    if kind == "video":
        _write_video(target, images)
        return target
    width, height = images[0].size
    sheet = Image.new("RGB", (width * min(len(images), _COLUMNS), height * -(-len(images) // _COLUMNS)))
    for number, image in enumerate(images):
        sheet.paste(image, (number % _COLUMNS * width, number // _COLUMNS * height))
    sheet.save(target)
    return target


def _write_video(path: Path, images: list[Image.Image]) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(_FPS))
        video.width, video.height, video.pix_fmt = images[0].width // 2 * 2, images[0].height // 2 * 2, "yuv420p"
        for image in images:
            for packet in video.encode(av.VideoFrame.from_image(image.crop((0, 0, video.width, video.height)))):
                container.mux(packet)
        for packet in video.encode():
            container.mux(packet)
