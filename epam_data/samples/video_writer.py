"""Write pictures as a video that browsers and presentations play, with the best encoder that is there."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import av
from PIL import Image

from epam_data.system.files import path_in_errors

_log = logging.getLogger(__name__)

ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")
"""By preference. libx264 is under the GPL, so an FFmpeg for other licences lacks it; mpeg4 is in each FFmpeg."""

_BITS_PER_PIXEL = 0.5  # for encoders without libx264's constant quality: enough for text and skeletons


def write_video(path: Path, images: Iterable[Image.Image], *, fps: int, options: dict[str, str] | None = None) -> None:
    """Write RGB pictures of one size as a video; of an odd width or height the last column or row is left out.

    The video is H.264 where the FFmpeg of this PyAV has an encoder of it, else MPEG-4 Part 2, which browsers do not
    play; a warning says so.

    Args:
        path: the video; its ending chooses the container (.mp4, .avi, .mkv, ...).
        images: at least one; they are taken one by one.
        fps: pictures per second.
        options: of libx264, as {"crf": "18"}; other encoders do not take them.

    Raises:
        ValueError: there is no picture, FFmpeg knows no container for the ending, or it has none of `ENCODERS`.
        OSError: the file cannot be written.
    """
    encoder = _encoder()
    try:
        container = av.open(str(path), "w")
    except ValueError as error:
        raise ValueError(f"{path}: cannot be written as a video ({error}); an .mp4 can") from error
    with path_in_errors(path), container:
        stream = container.add_stream(encoder, rate=fps)
        stream.pix_fmt = "yuv420p"
        size = None
        for image in images:
            if size is None:  # even, since colour is stored at half the size
                size = stream.width, stream.height = image.width // 2 * 2, image.height // 2 * 2
                if encoder == ENCODERS[0]:
                    stream.options = options or {}
                else:
                    stream.bit_rate = int(_BITS_PER_PIXEL * fps * size[0] * size[1])
            container.mux(stream.encode(av.VideoFrame.from_image(image.crop((0, 0, *size)))))
        if size is None:
            raise ValueError(f"{path}: no picture to write")
        container.mux(stream.encode())


@cache
def _encoder() -> str:
    """The first of `ENCODERS` that this FFmpeg has."""
    name = next((name for name in ENCODERS if _is_there(name)), None)
    if name is None:
        raise ValueError(f"this FFmpeg has no encoder of {', '.join(ENCODERS)}, so videos cannot be written")
    if name == ENCODERS[-1]:
        _log.warning("this FFmpeg has no H.264 encoder: videos are written as MPEG-4 Part 2, browsers do not play them")
    return name


def _is_there(name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except ValueError:
        return False
    return True
