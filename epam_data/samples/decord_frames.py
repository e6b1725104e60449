"""The decoded frames of a recording by decord, where they are proven to be PyAV's.

decord chooses a stream by a rule of its own and cannot be told another; it guesses the number of frames, and for some
kinds of files its colours or its order differ. So PyAV looks at each file first. The first file of a kind (container,
codec, pixels, colours, turn) that a process meets is decoded by both, and further files of the kind are compared in
their first frame and their number of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epam_data.samples.container import OpenVideo, file_url, open_video
from epam_data.samples.frames import decoded_frames, key_frames, quarter_turns, to_rgb

_PROOF_FRAMES = 300  # that are compared; of a longer file the number of frames is compared, too

_proven: set[tuple[Any, ...]] = set()
"""Kinds of files that both decoders have decoded alike in this process. Others are not remembered: a file has its
frames and its note whatever was decoded before it."""


class NotAlikeError(Exception):
    """decord does not give PyAV's frames of a file; the text says how, and PyAV is to decode it."""


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """What PyAV says of a file without decoding more than its key frames."""

    kind: tuple[Any, ...]
    turns: int
    num_packets: int
    first: NDArray[np.uint8]  # (H, W, 3) RGB, upright


def decord_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Whole upright frames, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: PyAV refuses the file.
        NotAlikeError: decord does not give PyAV's frames; some may have been yielded before.
    """
    expected = _look(path)
    if expected.kind not in _proven:
        _prove(path, expected.turns)
        _proven.add(expected.kind)
    count = 0
    for image in _decode(path):
        if count == 0 and not np.array_equal(image, expected.first):
            raise NotAlikeError("gives another first frame")
        yield image
        count += 1
    if count != expected.num_packets:
        raise NotAlikeError(f"gives {count} frames of {expected.num_packets}")


def _look(path: Path) -> _Expected:
    with open_video(path) as video:
        if video.num_streams > 1:
            raise NotAlikeError("cannot be told which of several video streams to decode")
        packets: list[int] = []
        first = None
        for frame in key_frames(video, packets):
            if first is None:
                turns = quarter_turns(path.name, frame)
                first, kind = _upright(frame, turns), _kind(video, frame, turns)
    if first is None:
        raise NotAlikeError("may count the frames of a video without a key frame in another way")
    return _Expected(kind=kind, turns=turns, num_packets=len(packets), first=first)


def _kind(video: OpenVideo, frame: Any, turns: int) -> tuple[Any, ...]:
    context = video.stream.codec_context
    colours = frame.format.name, int(frame.colorspace), int(frame.color_range)
    even = frame.width % 2, frame.height % 2
    return (video.container.format.name, context.name, context.profile, context.has_b_frames, *colours, *even, turns)


def _prove(path: Path, turns: int) -> None:
    """Decode a file with both decoders.

    Raises:
        NotAlikeError: the frames differ.
    """
    with open_video(path) as video:
        theirs = _decode(path)
        for number, frame in enumerate(islice(decoded_frames(video), _PROOF_FRAMES)):
            image = next(theirs, None)
            if image is None:
                raise NotAlikeError(f"gives {number} frames, PyAV more")
            if not np.array_equal(image, _upright(frame, turns)):
                raise NotAlikeError(f"gives another frame {number}")


def _upright(frame: Any, turns: int) -> NDArray[np.uint8]:
    image = to_rgb(frame)
    return np.rot90(image, turns) if turns else image


def _decode(path: Path) -> Iterator[NDArray[np.uint8]]:
    try:
        import decord

        url = file_url(path)
        url.encode()
    except ImportError as error:
        raise NotAlikeError("is not installed") from error
    except UnicodeEncodeError as error:
        raise NotAlikeError("cannot open a path that is not UTF-8") from error
    try:
        # With the default tolerance, decord repeats the last frame for packets without one, as in a trimmed MP4.
        reader = decord.VideoReader(url, num_threads=1, fault_tol=1e-9)
        for index in range(len(reader)):
            image = reader[index].asnumpy()
            # If a padded row is a multiple of the width, decord reports the padding as channels: (H, W, 4) or more.
            height, width = image.shape[:2]
            yield image.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)
    except decord.DECORDLimitReachedError:
        return  # frames are repeated from here on: the video has ended
    except (decord.DECORDError, RuntimeError, IndexError, ValueError) as error:
        raise NotAlikeError("cannot decode it") from error
