"""Decode one recording: the cropped, resized RGB frames of a person box.

Frame i is the i-th frame that the decoder gives, never a time stamp: NTU's AVIs carry stamps that do not rise in
decoding order. PyAV decodes to YUV and only the crop is converted to RGB; decord converts whole frames. Both use the
same colour matrix, and the frames they give are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in pixels of the video, x2 and y2 exclusive; may reach outside the image."""

VIDEO_ENDINGS = ("_rgb.avi", "_rgb.mp4", ".avi", ".mp4")

_YUV_420 = ("yuv420p", "yuvj420p")


class VideoFinder:
    """Finds the videos of a data set by name; lists each folder once."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder, expected the videos")
        self.root = root
        self._listings: dict[PurePosixPath, frozenset[str]] = {}

    def find(self, name: str) -> str | None:
        """The path below the root, or None.

        It is `NAME_rgb.avi`, `NAME_rgb.mp4`, `NAME.avi` or `NAME.mp4`, in the folder that `name` names or in the root.
        """
        path = PurePosixPath(name)
        for folder in dict.fromkeys((path.parent, PurePosixPath())):
            for ending in VIDEO_ENDINGS:
                if path.name + ending in self._listing(folder):
                    return str(folder / (path.name + ending))
        return None

    def _listing(self, folder: PurePosixPath) -> frozenset[str]:
        if folder not in self._listings:
            place = self.root / folder
            self._listings[folder] = frozenset(path.name for path in place.iterdir()) if place.is_dir() else frozenset()
        return self._listings[folder]


def video_size(path: Path) -> tuple[int, int]:
    """(H, W) of the first video stream.

    Raises:
        ValueError: the file is absent, empty, or no video.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        return int(stream.height), int(stream.width)


def decode_crop(
    path: Path, box: Box, size_px: int, max_frames: int, decoder: str = "pyav"
) -> tuple[NDArray[np.uint8], int]:
    """The first `max_frames` frames, cropped to `box` and resized.

    Args:
        path: the recording.
        box: what to crop; outside the image it is black.
        size_px: height and width of the result.
        max_frames: frames to keep.
        decoder: a name of `DECODERS`.

    Returns:
        (T, size_px, size_px, 3) uint8 RGB with T <= max_frames, and the number of frames that the decoder gave.

    Raises:
        ValueError: unknown decoder, unreadable file, or not one frame in it.
    """
    if decoder not in DECODERS:
        raise ValueError(f"prepare.decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
    frames = np.empty((max_frames, size_px, size_px, 3), np.uint8)
    count = 0
    for crop in DECODERS[decoder](path, box):
        if count < max_frames:
            frames[count] = _resize(crop, size_px)
        count += 1
    if count == 0:
        raise ValueError(f"{path.name}: the decoder gave no frame, expected up to {max_frames}")
    return frames[: min(count, max_frames)], count


def _open(path: Path) -> Any:
    if not path.is_file() or path.stat().st_size == 0:
        raise ValueError(f"{path.name}: {'an empty file' if path.is_file() else 'no such file'}, expected a video")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        # Only FFmpeg's own words: its whole message holds the absolute path, and a reason goes into the shards' folder.
        raise ValueError(f"{path.name}: not a readable video ({error.strerror})") from error
    if not container.streams.video:
        container.close()
        raise ValueError(f"{path.name}: holds no video stream")
    return container


def _decode_pyav(path: Path, box: Box) -> Iterator[NDArray[np.uint8]]:
    with _open(path) as container:
        # One thread: a build runs one process per core, and frame threads would only add latency and memory.
        container.streams.video[0].codec_context.thread_count = 1
        try:
            for frame in container.decode(video=0):
                yield _crop_frame(frame, box)
        except av.FFmpegError as error:
            raise ValueError(f"{path.name}: decoding failed ({error.strerror})") from error


def _decode_decord(path: Path, box: Box) -> Iterator[NDArray[np.uint8]]:
    import decord

    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        for index in range(len(reader)):
            yield _crop_array(reader[index].asnumpy(), box)
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise ValueError(f"{path.name}: decoding failed ({str(error).splitlines()[0]})") from error


DECODERS = {"pyav": _decode_pyav, "decord": _decode_decord}


def _crop_frame(frame: Any, box: Box) -> NDArray[np.uint8]:
    if frame.format.name not in _YUV_420:
        return _crop_array(frame.to_ndarray(format="rgb24"), box)
    # Chroma has one value for 2 x 2 pixels: crop outward to even corners, convert, then crop to the box.
    x1, y1 = max(box[0], 0) // 2 * 2, max(box[1], 0) // 2 * 2
    x2, y2 = min((box[2] + 1) // 2 * 2, frame.width), min((box[3] + 1) // 2 * 2, frame.height)
    if x2 - x1 < 2 or y2 - y1 < 2 or (x2 - x1) % 2 or (y2 - y1) % 2:  # off the image, or an odd video
        return _crop_array(frame.to_ndarray(format="rgb24"), box)
    packed = np.empty(((y2 - y1) * 3 // 2, x2 - x1), np.uint8)
    luma, chroma = packed[: y2 - y1], packed[y2 - y1 :].reshape(2, (y2 - y1) // 2, (x2 - x1) // 2)
    luma[:] = _plane(frame.planes[0])[y1:y2, x1:x2]
    for target, plane in zip(chroma, frame.planes[1:], strict=True):
        target[:] = _plane(plane)[y1 // 2 : y2 // 2, x1 // 2 : x2 // 2]
    part = av.VideoFrame.from_ndarray(packed, format=frame.format.name)
    part.colorspace, part.color_range = frame.colorspace, frame.color_range
    shifted = (box[0] - x1, box[1] - y1, box[2] - x1, box[3] - y1)
    return _crop_array(part.to_ndarray(format="rgb24"), shifted)


def _plane(plane: Any) -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


def _crop_array(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Crop (H, W, 3) to `box`; what lies outside the image is black."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    inside = image[max(y1, 0) : max(min(y2, height), 0), max(x1, 0) : max(min(x2, width), 0)]
    if inside.shape[:2] == (y2 - y1, x2 - x1):
        return inside
    out = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
    top, left = max(-y1, 0), max(-x1, 0)
    out[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return out


def _resize(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Bilinear; when shrinking, swscale widens it to the pixel's footprint, so that fine texture does not alias."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    resized: NDArray[np.uint8] = frame.reformat(size_px, size_px, "rgb24", interpolation="BILINEAR").to_ndarray()
    return resized
