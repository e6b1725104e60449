"""The decoded frames of a recording by PyAV, in order, and how they are turned upright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from epam_data.samples.container import OpenVideo

_TURNS = {(1, 0, 0, 1): 0, (0, -1, 1, 0): 1, (-1, 0, 0, -1): 2, (0, 1, -1, 0): 3, (0, 0, 0, 0): 0}
"""Quarter turns for `np.rot90`, by the signs of a display matrix; some writers leave the matrix empty."""


def decoded_frames(video: OpenVideo) -> Iterator[Any]:
    """The decoded frames, not rotated: at least one, all of one size.

    Raises:
        ValueError: no frame can be decoded, one cannot be, or the size changes.
    """
    frame = None
    for frame in _of_one_size(video, lambda: video.container.decode(video.stream)):
        yield frame
    if frame is None:
        raise ValueError(f"{video.path.name}: no frame could be decoded")


def key_frames(video: OpenVideo, packets: list[int]) -> Iterator[Any]:
    """The key frames alone, not rotated, all of one size; a trimmed video may have none.

    Args:
        video: the recording.
        packets: the size in bytes of each packet of its stream is added.

    Raises:
        ValueError: one cannot be decoded, or the size changes.
    """

    def decode() -> Iterator[Any]:
        for packet in video.container.demux(video.stream):
            if packet.size:
                packets.append(packet.size)
            yield from packet.decode()

    video.stream.codec_context.skip_frame = "NONKEY"
    yield from _of_one_size(video, decode)


def _of_one_size(video: OpenVideo, decode: Any) -> Iterator[Any]:
    name, size = video.path.name, None
    try:
        for frame in decode():
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height):
                sizes = f"{size[0]} x {size[1]} to {frame.width} x {frame.height}"
                raise ValueError(f"{name}: the frame size changes from {sizes} pixels")
            yield frame
    except av.FFmpegError as error:
        raise ValueError(f"{name}: decoding failed ({error.strerror})") from error


def to_rgb(frame: Any) -> NDArray[np.uint8]:
    """(H, W, 3); chroma is interpolated with FFmpeg's default, as in OpenCV and decord."""
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", interpolation="BICUBIC")
    return image


def quarter_turns(name: str, frame: Any) -> int:
    """Number of `np.rot90` turns that make a stored frame upright.

    Raises:
        ValueError: the display matrix is not a quarter turn; names the video `name`.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0
    a, b, _, c, d = np.frombuffer(data, np.int32, 5) / 65536  # fixed point; (x, y) is shown at (ax + cy, bx + dy)
    signs = tuple(int(np.sign(value)) if abs(value) > 0.001 else 0 for value in (a, b, c, d))
    if signs not in _TURNS:
        matrix = f"{a:g} {b:g} {c:g} {d:g}"
        raise ValueError(f"{name}: display matrix {matrix} is not a rotation by 0, 90, 180 or 270 degrees")
    return _TURNS[signs]
