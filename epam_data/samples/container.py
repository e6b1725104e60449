"""Open a recording: which files are videos, and which stream of a file is the recording.

FFmpeg opens much more than videos. A list of files (ffconcat, a playlist) or a description of a broadcast (SDP) makes
it open what the list names, on disks and in networks. Only formats that hold their frames themselves are opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.logging import Capture
from av.stream import Disposition

FORMATS = (
    "3g2,3gp,apng,asf,avi,dhav,dv,flv,gif,gxf,ivf,m4a,m4v,matroska,mj2,mov,mp4,mpeg,mpegts,mxf,nut,ogg,rm,swf,"
    "webm,wtv,yuv4mpegpipe,"
    "av1,h261,h263,h264,hevc,mjpeg,mpegvideo,obu,vc1,vvc"  # bare streams
)
"""FFmpeg's names of the formats that are opened; all others are refused by name."""

_LISTS = {"concat", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest"}
_FIRST_BYTES = {
    b"#extm3u": "hls",
    b"ffconcat": "concat",
    b"[playlist]": "pls",
    b"rtsptext": "rtsp",
    b"<asx": "asx",
    b"<smil": "smil",
    b"<mpd": "dash",
    b"<?xml": "xml",
}
"""Lists that FFmpeg does not recognise by their content alone: it takes them for invalid data or for other text."""

_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails


@dataclass(frozen=True, kw_only=True)
class OpenVideo:
    """A recording that is open."""

    path: Path
    container: Any
    stream: Any
    """The video stream to decode."""
    note: str | None
    """Which stream was taken, if there are several."""

    @property
    def num_streams(self) -> int:
        """Video streams, pictures of a cover too."""
        return len(self.container.streams.video)


@contextmanager
def open_video(path: Path) -> Iterator[OpenVideo]:
    """Open a recording and choose its stream; it is closed after the block.

    Of several video streams, the one with the largest frames is taken, then one that is marked as default, then the
    first. Pictures of a cover and thumbnails do not count.

    Raises:
        ValueError: the file is missing, no regular file, empty, of a format that is not in `FORMATS`, or without a
            video stream that can be decoded. The message has the file's name, not its folder.
    """
    with closing(_open(path)) as container:
        stream, note = _choose(path, container.streams.video)
        # One thread: a build runs one process per core, and frame threads would only add latency and memory.
        stream.codec_context.thread_count = 1
        yield OpenVideo(path=path, container=container, stream=stream, note=note)


def file_url(path: Path) -> str:
    """The path as FFmpeg takes it for a file whatever its name: `12:30/clip.avi` would be of a protocol `12`."""
    return f"file:{path.absolute()}"


def _open(path: Path) -> Any:
    if not path.is_file():  # a FIFO would block forever
        raise ValueError(f"{path.name}: {'not a regular' if path.exists() else 'no such'} file, expected a video")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name}: an empty file, expected a video")
    try:
        return _open_listed(path)
    except (av.FFmpegError, OSError) as error:
        # Only FFmpeg's reason: its full message has the absolute path, and reasons are stored beside the shards.
        raise ValueError(f"{path.name}: {_other_kind(path) or f'not a readable video ({error.strerror})'}") from error


def _open_listed(path: Path) -> Any:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    # Titles and other tags of any encoding: nobody reads them.
    return av.open(file_url(path), container_options=options, metadata_errors="replace")


def _other_kind(path: Path) -> str | None:
    """What a file that was refused is, if it is known."""
    with path.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    name = next((name for first, name in _FIRST_BYTES.items() if start.startswith(first)), None)
    name = name or _refused_format(path)
    if name is None:
        return None
    if name.endswith("_pipe") or name == "image2":
        return f"a still image ({name}), expected a video"
    if name in {*_LISTS, *_FIRST_BYTES.values()}:
        return f"a list of other files ({name}), expected a video; nothing that it names was opened"
    return f"of the format {name}, expected a video such as AVI, MP4 or Matroska"


def _refused_format(path: Path) -> str | None:
    """The format that FFmpeg recognised, if it is not one of `FORMATS`: FFmpeg says it in its log alone."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # the second file of a format would be refused without a name
    try:
        with Capture() as lines:
            _open_listed(path).close()
    except (av.FFmpegError, OSError):
        return next((format_name for _, format_name, text in lines if "not on whitelist" in text), None)
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])
    return None


def _choose(path: Path, streams: Any) -> tuple[Any, str | None]:
    moving = [stream for stream in streams if not stream.disposition & _PICTURES]
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:  # of an unknown codec: a damaged header, or a codec that FFmpeg does not have
        cover = ", only a cover picture" if streams else ""
        raise ValueError(
            f"{path.name}: {'its video stream has an unknown codec' if moving else f'has no video stream{cover}'}"
        )
    chosen = max(known, key=lambda each: (_num_pixels(each), bool(each.disposition & Disposition.default), -each.index))
    if len(moving) == 1:
        return chosen, None
    context = chosen.codec_context
    size = f"the one of {context.width} x {context.height} pixels (stream {chosen.index})"
    return chosen, f"the file has {len(moving)} video streams, {size} was taken"


def _num_pixels(stream: Any) -> int:
    return int(stream.codec_context.width * stream.codec_context.height)
