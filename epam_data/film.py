"""A film of a sample: frame, skeleton and heatmap side by side, as an H.264 video."""

from __future__ import annotations

from pathlib import Path

import av

from epam_data.picture import overlay
from epam_data.schema import Sample

_FPS = 30  # of every data set that is read


def write_film(sample: Sample, path: Path) -> None:
    """Write every frame's `overlay`.

    Args:
        sample: what to show.
        path: the video; its ending chooses the container (.mp4, .mkv, ...).

    Raises:
        ValueError: FFmpeg knows no container for the ending.
    """
    try:
        container = av.open(str(path), "w")
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"{path}: cannot be written as a video ({error}); an .mp4 can") from error
    with container:
        stream = container.add_stream("libx264", rate=_FPS)
        first = overlay(sample, 0)
        stream.width, stream.height = first.width // 2 * 2, first.height // 2 * 2  # chroma is stored at half size
        stream.pix_fmt = "yuv420p"  # what browsers and presentations play
        stream.options = {"crf": "18", "preset": "veryfast"}
        for number in range(sample.info.num_frames):
            image = overlay(sample, number).crop((0, 0, stream.width, stream.height))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
