"""Whether this machine's PyAV converts YUV to RGB with the matrix that a video names; some versions do not."""

from __future__ import annotations

from functools import cache

import av
import numpy as np
from numpy.typing import NDArray

from epam_data.samples.frames import to_rgb

_WEIGHTS = {"BT.709": (1, 0.2126, 0.0722), "BT.601": (5, 0.299, 0.114)}
"""FFmpeg's number of the matrix, and the shares of red and blue in luma (ITU-R BT.709, BT.601)."""

_YUV = (110, 90, 190)  # a colour in which the matrices differ by 20 levels
_TOLERANCE = 3  # levels of 255


@cache
def check_colours() -> None:
    """Convert one flat frame of each matrix and compare it with the matrix's own arithmetic; once in a process.

    Raises:
        ValueError: a colour is wrong.
    """
    for name, (number, red, blue) in _WEIGHTS.items():
        expected, got = _by_arithmetic(red, blue), _by_pyav(number)
        if np.abs(expected - got).max() > _TOLERANCE:
            raise ValueError(
                f"PyAV {av.__version__} gives RGB {got.tolist()} for YUV {_YUV} of {name}, expected "
                f"{expected.tolist()}: its colours are wrong. Install PyAV 17 or newer, with its own FFmpeg"
            )


def _by_pyav(number: int) -> NDArray[np.int64]:
    frame = av.VideoFrame(16, 16, "yuv420p")
    for plane, value in zip(frame.planes, _YUV, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_range = number, 1  # limited range
    colour: NDArray[np.int64] = to_rgb(frame)[8, 8].astype(np.int64)
    return colour


def _by_arithmetic(red: float, blue: float) -> NDArray[np.int64]:
    """RGB of `_YUV` in limited range."""
    y, u, v = (_YUV[0] - 16) / 219, (_YUV[1] - 128) / 224, (_YUV[2] - 128) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    colour: NDArray[np.int64] = np.rint(255 * np.clip((r, g, b), 0, 1)).astype(np.int64)
    return colour
