"""Decode one recording: the cropped, resized RGB frames of a person box.

Frame i is the i-th decoded frame; time stamps are ignored, since those of NTU's AVIs do not increase in decoding order.
PyAV decodes to YUV and converts only the crop to RGB; decord converts full frames. Both give the same frames: where
decord is not proven to, PyAV decodes the file, and a note says so.

Frames are turned upright if the container stores a rotation, as phone videos do. OpenCV, decord and FFmpeg's own tools
do the same, so pose estimators saw the same frames.

A frame that cannot be decoded fails its clip. Errors that FFmpeg conceals are not detected, with either decoder: a
wrong bit can smear a frame, and a packet missing from the container is a missing frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import av
import numpy as np
from numpy.typing import NDArray

from epam_data.samples.colours import check_colours
from epam_data.samples.container import open_video
from epam_data.samples.decord_frames import NotAlikeError, decord_frames
from epam_data.samples.frames import decoded_frames, quarter_turns, to_rgb
from epam_data.samples.orientation import VideoShape
from epam_data.samples.settings import Decoder

Box = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in pixels of the video, x2 and y2 exclusive; may extend beyond the image."""

DECODERS: tuple[str, ...] = get_args(Decoder)

_YUV_420 = ("yuv420p", "yuvj420p")


class DecodedClip(NamedTuple):
    """The frames of a recording in its box."""

    frames: NDArray[np.uint8]
    """(T, S, S, 3) uint8 RGB."""
    num_decoded: int
    """Frames of the whole recording."""
    note: str | None
    """Why another decoder was taken than the one that was asked for."""


def video_shape(path: Path) -> VideoShape:
    """The shape of the upright frames that `decode_crop` crops, read from the first one.

    Raises:
        ValueError: the file is missing, empty or not a video, or its display matrix is not a quarter turn.
    """
    with open_video(path) as video:
        # Every PyAV since 12 has the display matrix on decoded frames; only some versions have it on the stream.
        frame = next(decoded_frames(video))
        turns = quarter_turns(path.name, frame)
        size = int(frame.height), int(frame.width)
        aspect = float(video.stream.sample_aspect_ratio or 1)
        note = video.note
    if turns % 2:
        return VideoShape(size[::-1], turns, 1 / aspect, note)
    return VideoShape(size, turns, aspect, note)


def decode_crop(
    path: Path, box: Box, size_px: int, max_frames: int, decoder: str = "pyav"
) -> tuple[NDArray[np.uint8], int]:
    """The frames of `decode_clip` and their number."""
    clip = decode_clip(path, box, size_px, max_frames, decoder)
    return clip.frames, clip.num_decoded


def decode_clip(path: Path, box: Box, size_px: int, max_frames: int, decoder: str = "pyav") -> DecodedClip:
    """The first `max_frames` frames, cropped to `box` and resized.

    Args:
        path: the recording.
        box: region to crop; parts outside the image are black.
        size_px: height and width of the result.
        max_frames: frames to keep.
        decoder: `pyav` or `decord`.

    Raises:
        ValueError: unknown decoder, unreadable file, no frames, a frame that cannot be decoded, frames of different
            sizes, a display matrix that is not a quarter turn, or a PyAV that decodes to wrong colours.
    """
    if decoder not in DECODERS:
        raise ValueError(f"prepare.decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
    check_colours()
    note = None
    if decoder == "decord":
        try:
            return DecodedClip(*_resized((_crop_array(i, box) for i in decord_frames(path)), size_px, max_frames), None)
        except NotAlikeError as error:
            note = f"decoded by PyAV, since decord {error}"
    return DecodedClip(*_resized(_decode_pyav(path, box), size_px, max_frames), note)


def _resized(crops: Iterable[NDArray[np.uint8]], size_px: int, max_frames: int) -> tuple[NDArray[np.uint8], int]:
    frames = np.empty((max_frames, size_px, size_px, 3), np.uint8)
    count = 0
    for crop in crops:
        if count < max_frames:
            frames[count] = _resize(crop, size_px)
        count += 1
    return frames[: min(count, max_frames)], count


def _decode_pyav(path: Path, box: Box) -> Iterator[NDArray[np.uint8]]:
    turns = None
    with open_video(path) as video:
        for frame in decoded_frames(video):
            if turns is None:  # first frame only: reading side data keeps the frame alive until the next gc
                turns = quarter_turns(path.name, frame)
            yield _crop_array(np.rot90(to_rgb(frame), turns), box) if turns else _crop_frame(frame, box)


def _crop_frame(frame: Any, box: Box) -> NDArray[np.uint8]:
    if frame.format.name not in _YUV_420 or frame.width % 2 or frame.height % 2:  # odd sizes interpolate chroma
        return _crop_array(to_rgb(frame), box)
    # Chroma has one value for 2 x 2 pixels: crop outward to even corners, convert, then crop to the box.
    x1, y1 = max(box[0] // 2 * 2, 0), max(box[1] // 2 * 2, 0)
    x2, y2 = min((box[2] + 1) // 2 * 2, frame.width), min((box[3] + 1) // 2 * 2, frame.height)
    if x2 <= x1 or y2 <= y1:  # outside the image
        return _crop_array(to_rgb(frame), box)
    packed = np.empty(((y2 - y1) * 3 // 2, x2 - x1), np.uint8)
    luma, chroma = packed[: y2 - y1], packed[y2 - y1 :].reshape(2, (y2 - y1) // 2, (x2 - x1) // 2)
    luma[:] = _plane(frame.planes[0])[y1:y2, x1:x2]
    chroma[:] = [_plane(plane)[y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] for plane in frame.planes[1:]]
    part = av.VideoFrame.from_ndarray(packed, format=frame.format.name)
    part.colorspace, part.color_range = frame.colorspace, frame.color_range
    shifted = (box[0] - x1, box[1] - y1, box[2] - x1, box[3] - y1)
    return _crop_array(to_rgb(part), shifted)


def _plane(plane: Any) -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


def _crop_array(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Crop (H, W, 3) to `box`; parts outside the image are black."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    top, bottom, left, right = *np.clip((y1, y2), 0, height), *np.clip((x1, x2), 0, width)
    out = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
    out[top - y1 : bottom - y1, left - x1 : right - x1] = image[top:bottom, left:right]
    return out


def _resize(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Bilinear. When shrinking, swscale widens the filter to the pixel's footprint, so fine texture does not alias."""
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    resized: NDArray[np.uint8] = frame.reformat(size_px, size_px, "rgb24", interpolation="BILINEAR").to_ndarray()
    return resized
