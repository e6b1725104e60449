"""Write pictures as an H.264 video that browsers and presentations play."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
from PIL import Image

from epam_data.system.files import path_in_errors


def write_h264(path: Path, images: Iterable[Image.Image], *, fps: int, options: dict[str, str] | None = None) -> None:
    """Write RGB pictures of one size as a video; of an odd width or height the last column or row is left out.

    Args:
        path: the video; its ending chooses the container (.mp4, .avi, .mkv, ...).
        images: at least one; they are taken one by one.
        fps: pictures per second.
        options: of libx264, as {"crf": "18"}.

    Raises:
        ValueError: there is no picture, or FFmpeg knows no container for the ending.
        OSError: the file cannot be written.
    """
    try:
        container = av.open(str(path), "w")
    except ValueError as error:
        raise ValueError(f"{path}: cannot be written as a video ({error}); an .mp4 can") from error
    with path_in_errors(path), container:
        stream = container.add_stream("libx264", rate=fps)
        stream.pix_fmt, stream.options = "yuv420p", options or {}
        size = None
        for image in images:
            if size is None:  # even, since colour is stored at half the size
                size = stream.width, stream.height = image.width // 2 * 2, image.height // 2 * 2
            container.mux(stream.encode(av.VideoFrame.from_image(image.crop((0, 0, *size)))))
        if size is None:
            raise ValueError(f"{path}: no picture to write")
        container.mux(stream.encode())
