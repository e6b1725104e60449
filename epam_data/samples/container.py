"""Open a video file: which containers are read, and which of their streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

CONTAINERS = (
    *("avi", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "ogg", "mxf"),
    *("dv", "h264", "hevc", "m4v", "h263", "ivf", "obu", "nut", "rm", "wtv", "swf", "gif", "apng", "yuv4mpegpipe"),
)
"""FFmpeg's names of the containers that are read. Not among them: playlists and lists of files (ffconcat, HLS, SDP),
which would open other files or hosts, image sequences, and devices."""

_OPTIONS = {
    "format_whitelist": ",".join([*CONTAINERS, "image2", *(f"{kind}_pipe" for kind in ("png", "jpeg", "bmp", "webp"))]),
    "protocol_whitelist": "file",  # nothing that a file names is fetched
}


def open_video(path: Path) -> Any:
    """An open PyAV container whose `film` can be decoded.

    Raises:
        ValueError: the file is missing, empty, no video, or in a container that is not read.
    """
    if not path.is_file():  # a FIFO would block forever
        raise ValueError(f"{path.name}: {'not a regular' if path.exists() else 'no such'} file, expected a video")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name}: an empty file, expected a video")
    try:
        # A tag that is not UTF-8, as Windows tools write titles, costs nothing.
        container = av.open(source(path), options=_OPTIONS, metadata_errors="replace")
    except av.ArgumentError as error:
        raise ValueError(
            f"{path.name}: not in a container that is read: expected a video (avi, mp4, mkv, webm, ts …), "
            "not sound, text, or a list of other files"
        ) from error
    except (av.FFmpegError, OSError) as error:
        # Only FFmpeg's reason: its full message has the absolute path, and reasons are stored beside the shards.
        raise ValueError(f"{path.name}: not a readable video ({error.strerror})") from error
    stream, kind = film(container), container.format.name
    if kind.endswith("_pipe") or kind == "image2":
        problem = f"a still image ({kind}), expected a video"
    elif stream is None:
        problem = "has no video stream"
    elif stream.codec_context is None:  # a damaged header, or a codec that FFmpeg does not know
        problem = "its video stream has an unknown codec"
    else:
        # One thread: a build runs one process per core, and frame threads would only add latency and memory.
        stream.codec_context.thread_count = 1
        return container
    container.close()
    raise ValueError(f"{path.name}: {problem}")


def source(path: Path) -> Any:
    """What FFmpeg opens: an absolute path, in which a colon cannot end the name of a protocol, or an open file."""
    absolute = str(path.absolute())
    try:
        absolute.encode()
    except UnicodeEncodeError:  # a folder whose name is not UTF-8
        return path.open("rb")
    return absolute


def film(container: Any) -> Any:
    """The video stream to decode: of several the one with the largest picture, never a cover; None: there is none."""
    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    return max(films, key=_area, default=None)  # of equal ones the first


def _area(stream: Any) -> int:
    codec = stream.codec_context  # None: a damaged header, or a codec that FFmpeg does not know
    return 0 if codec is None else int(codec.width * codec.height)
