"""Decode one recording: the cropped, resized RGB frames of a person box.

Frame i is the i-th decoded frame; time stamps are ignored, since those of NTU's AVIs do not increase in decoding order.
PyAV decodes to YUV and converts only the crop to RGB; decord converts full frames. Both use the same colour matrix and
return equal frames (except for chroma positions when the video is not 8-bit 4:2:0).

Frames are turned upright if the container stores a rotation, as phone videos do. OpenCV, decord and FFmpeg's own tools
do the same, so pose estimators saw the same frames.

A frame that cannot be decoded fails its clip. Errors that FFmpeg conceals are not detected, with either decoder: a
wrong bit can smear a frame, and a packet missing from the container is a missing frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from epam_data.samples.container import film, open_video, source
from epam_data.samples.orientation import VideoShape

Box = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in pixels of the video, x2 and y2 exclusive; may extend beyond the image."""


_YUV_420 = ("yuv420p", "yuvj420p")

_TURNS = {(1, 0, 0, 1): 0, (0, -1, 1, 0): 1, (-1, 0, 0, -1): 2, (0, 1, -1, 0): 3, (0, 0, 0, 0): 0}
"""Quarter turns for `np.rot90`, by the signs of a display matrix; some writers leave the matrix empty."""


def video_shape(path: Path) -> VideoShape:
    """The shape of the upright frames that `decode_crop` crops, read from the first one.

    Raises:
        ValueError: the file is missing, empty or not a video, or its display matrix is not a quarter turn.
    """
    # Every PyAV since 12 has the display matrix on decoded frames; only some versions have it on the stream.
    frame = next(_frames(path))
    turns = _quarter_turns(path, frame)
    height, width = int(frame.height), int(frame.width)
    aspect = _pixel_aspect(path)
    if turns % 2:
        return VideoShape((width, height), turns, 1 / aspect)
    return VideoShape((height, width), turns, aspect)


def decode_crop(
    path: Path, box: Box, size_px: int, max_frames: int, decoder: str = "pyav"
) -> tuple[NDArray[np.uint8], int]:
    """The first `max_frames` frames, cropped to `box` and resized.

    Args:
        path: the recording.
        box: region to crop; parts outside the image are black.
        size_px: height and width of the result.
        max_frames: frames to keep.
        decoder: `pyav` or `decord`.

    Returns:
        (T, size_px, size_px, 3) uint8 RGB with T <= max_frames, and the number of decoded frames.

    Raises:
        ValueError: unknown decoder, unreadable file, no frames, a frame that cannot be decoded, frames of different
            sizes, or a display matrix that is not a quarter turn.
    """
    if decoder not in DECODERS:
        raise ValueError(f"prepare.decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
    frames = np.empty((max_frames, size_px, size_px, 3), np.uint8)
    count = 0
    for crop in DECODERS[decoder](path, box):
        if count < max_frames:
            frames[count] = _resize(crop, size_px)
        count += 1
    return frames[: min(count, max_frames)], count


def _frames(path: Path, *, key_frames_only: bool = False) -> Iterator[Any]:
    """The decoded frames, not rotated: at least one, all of one size. A trimmed video may have no key frame."""
    with open_video(path) as container:
        stream = film(container)
        codec = stream.codec_context
        if key_frames_only:
            codec.skip_frame = "NONKEY"
        size = None
        try:
            for frame in container.decode(stream):
                size = size or (frame.width, frame.height)
                if size != (frame.width, frame.height):
                    sizes = f"{size[0]} x {size[1]} to {frame.width} x {frame.height}"
                    raise ValueError(f"{path.name}: the frame size changes from {sizes} pixels")
                yield frame
        except av.FFmpegError as error:
            raise ValueError(f"{path.name}: decoding failed ({error.strerror})") from error
        if size is None and not key_frames_only:
            raise ValueError(f"{path.name}: no frame could be decoded")


def _pixel_aspect(path: Path) -> float:
    """Width of a stored pixel by its height when shown; 1 if the file does not say."""
    with open_video(path) as container:
        aspect = film(container).sample_aspect_ratio
    return float(aspect) if aspect else 1.0


def _quarter_turns(path: Path, frame: Any) -> int:
    """Number of `np.rot90` turns that make the stored frame upright."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0
    a, b, _, c, d = np.frombuffer(data, np.int32, 5) / 65536  # fixed point; (x, y) is shown at (ax + cy, bx + dy)
    signs = tuple(int(np.sign(value)) if abs(value) > 0.001 else 0 for value in (a, b, c, d))
    if signs not in _TURNS:
        matrix = f"{a:g} {b:g} {c:g} {d:g}"
        raise ValueError(f"{path.name}: display matrix {matrix} is not a rotation by 0, 90, 180 or 270 degrees")
    return _TURNS[signs]


def _decode_pyav(path: Path, box: Box) -> Iterator[NDArray[np.uint8]]:
    turns = None
    for frame in _frames(path):
        if turns is None:  # first frame only: reading side data keeps the frame alive until the next gc
            turns = _quarter_turns(path, frame)
        yield _crop_array(np.rot90(_to_rgb(frame), turns), box) if turns else _crop_frame(frame, box)


def _decode_decord(path: Path, box: Box) -> Iterator[NDArray[np.uint8]]:
    return _read_decord(path, box) if _decord_agrees(path) else _decode_pyav(path, box)


_PROVEN: dict[tuple[object, ...], bool] = {}
"""Kinds of files, and whether decord gave PyAV's frames of the first of its kind in this process."""


def _decord_agrees(path: Path) -> bool:
    """Whether decord reads a file as PyAV does: the same stream, as many frames, the same pictures.

    It is tried with the first file of each kind (container, codec, pixel format); files of which decord chooses the
    stream itself, since they have several, are left to PyAV.
    """
    with open_video(path) as container:
        stream = film(container)
        codec = stream.codec_context
        kind = (container.format.name, path.suffix.lower(), codec.name, codec.pix_fmt)
        if len(container.streams.video) > 1:
            return False
    if kind not in _PROVEN:
        height, width = video_shape(path).size
        box = (0, 0, width, height)
        try:
            pairs = zip_longest(_decode_pyav(path, box), _read_decord(path, box))
            _PROVEN[kind] = all(one is not None and two is not None and _look_alike(one, two) for one, two in pairs)
        except ValueError:  # a damaged file proves nothing: it fails below, and the next is tried
            return True
    return _PROVEN[kind]


def _look_alike(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> bool:
    """Equal up to the position of chroma in formats other than 8-bit 4:2:0."""
    return one.shape == two.shape and float(np.abs(one.astype(np.int16) - two).mean()) < 3


def _read_decord(path: Path, box: Box) -> Iterator[NDArray[np.uint8]]:
    import decord

    # decord ignores mirroring and odd angles, stretches frames of a new size to the first, and its errors say little.
    video_shape(path)
    for _ in _frames(path, key_frames_only=True):
        pass
    try:
        # With the default tolerance, decord repeats the last frame for packets without one, as in a trimmed MP4.
        reader = decord.VideoReader(source(path), num_threads=1, fault_tol=1e-9)
        for index in range(len(reader)):
            image = reader[index].asnumpy()
            # If a padded row is a multiple of the width, decord reports the padding as channels: (H, W, 4) or more.
            height, width = image.shape[:2]
            yield _crop_array(image.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3), box)
    except decord.DECORDLimitReachedError:
        return  # frames are repeated from here on: the video has ended
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        # Strip the time, the C++ file and the absolute path: a reason must be the same in every build.
        words = re.sub(r"\[[\d:]+\] \S+: ", "", str(error).splitlines()[0]).replace(str(path.absolute()), path.name)
        raise ValueError(f"{path.name}: decoding failed ({words})") from error


DECODERS = {"pyav": _decode_pyav, "decord": _decode_decord}


def _crop_frame(frame: Any, box: Box) -> NDArray[np.uint8]:
    if frame.format.name not in _YUV_420 or frame.width % 2 or frame.height % 2:  # odd sizes interpolate chroma
        return _crop_array(_to_rgb(frame), box)
    # Chroma has one value for 2 x 2 pixels: crop outward to even corners, convert, then crop to the box.
    x1, y1 = max(box[0] // 2 * 2, 0), max(box[1] // 2 * 2, 0)
    x2, y2 = min((box[2] + 1) // 2 * 2, frame.width), min((box[3] + 1) // 2 * 2, frame.height)
    if x2 <= x1 or y2 <= y1:  # outside the image
        return _crop_array(_to_rgb(frame), box)
    packed = np.empty(((y2 - y1) * 3 // 2, x2 - x1), np.uint8)
    luma, chroma = packed[: y2 - y1], packed[y2 - y1 :].reshape(2, (y2 - y1) // 2, (x2 - x1) // 2)
    luma[:] = _plane(frame.planes[0])[y1:y2, x1:x2]
    chroma[:] = [_plane(plane)[y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] for plane in frame.planes[1:]]
    part = av.VideoFrame.from_ndarray(packed, format=frame.format.name)
    part.colorspace, part.color_range = frame.colorspace, frame.color_range
    shifted = (box[0] - x1, box[1] - y1, box[2] - x1, box[3] - y1)
    return _crop_array(_to_rgb(part), shifted)


def _to_rgb(frame: Any) -> NDArray[np.uint8]:
    """(H, W, 3); chroma is interpolated with FFmpeg's default, as in OpenCV and decord."""
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", interpolation="BICUBIC")
    return image


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
