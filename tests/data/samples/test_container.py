"""Only files that hold their frames themselves are opened, whatever their names, and one stream of them is taken."""

import http.server
import io
import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from epam_data.samples.container import FORMATS, open_video
from tests.data.raw_data import background, needs_proc, open_files, write_sound, write_video

BIG, SMALL_HW = (96, 128), (48, 64)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "good.mp4", [background(BIG)] * 3)
    return tmp_path / "good.mp4"


def write_streams(path: Path, sizes: list[tuple[int, int]], default: int | None = None) -> None:
    """A video of several streams, three frames of each (H, W)."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, (height, width) in enumerate(sizes):
            stream = container.add_stream("libx264", rate=30)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.disposition = Disposition.default.value if number == default else 0  # PyAV 17.0 wants a number
            streams.append(stream)
        for number in range(3):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(background((stream.height, stream.width), number), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def with_cover(mp4: bytes, *, first: bool) -> bytes:
    """An MP4 (frames last) with a cover picture before or after its track."""
    png = io.BytesIO()
    Image.new("RGB", (256, 256), (255, 0, 0)).save(png, "PNG")
    cover = box(b"covr", box(b"data", (14).to_bytes(4, "big"), bytes(4), png.getvalue()))
    tags = box(b"meta", bytes(4), box(b"hdlr", bytes(8), b"mdirappl", bytes(9)), box(b"ilst", cover))
    start = mp4.index(b"moov") - 4
    size = int.from_bytes(mp4[start : start + 4], "big")
    assert mp4.index(b"mdat") < start, "so that the frames stay where the index says"
    children = mp4[start + 8 : start + size]
    place = children.index(b"trak") - 4 if first else len(children)
    return mp4[:start] + box(b"moov", children[:place], box(b"udta", tags), children[place:]) + mp4[start + size :]


def write_plain_mp4(path: Path) -> bytes:
    """An MP4 whose index stands behind its frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = *BIG, "yuv420p"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(background(BIG, number), "rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


# Streams


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("sizes", "default", "taken"),
    [
        ([SMALL_HW, BIG], 0, 1),  # a preview in front
        ([BIG, SMALL_HW], 1, 0),
        ([BIG, BIG], None, 0),
        ([SMALL_HW, BIG, BIG], None, 1),
    ],
)
def test_the_stream_of_the_largest_frames_is_taken_and_noted(
    tmp_path: Path, ending: str, sizes: list[tuple[int, int]], default: int | None, taken: int
) -> None:
    path = tmp_path / f"clip.{ending}"
    write_streams(path, sizes, default)
    with open_video(path) as video:
        assert video.stream.index == taken and video.num_streams == len(sizes)
        size = f"the one of 128 x 96 pixels (stream {taken})"
        assert video.note == f"the file has {len(sizes)} video streams, {size} was taken"


def test_of_equal_streams_the_default_one_is_taken(tmp_path: Path) -> None:
    write_streams(tmp_path / "clip.mkv", [BIG, BIG], default=1)
    with open_video(tmp_path / "clip.mkv") as video:
        assert video.stream.index == 1


@pytest.mark.parametrize("first", [True, False])
def test_a_cover_picture_is_no_stream(tmp_path: Path, first: bool) -> None:
    path = tmp_path / "cover.mp4"
    path.write_bytes(with_cover(write_plain_mp4(path), first=first))
    with open_video(path) as video:
        assert video.num_streams == 2 and video.note is None
        frame = next(video.container.decode(video.stream))
        assert (frame.height, frame.width) == BIG


def test_sound_alone_and_sound_with_a_cover_are_refused(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"^a\.mp4: has no video stream$"), open_video(tmp_path / "a.mp4"):
        pass
    data = write_plain_mp4(tmp_path / "b.mp4")
    cover = with_cover(data, first=True).replace(b"trak", b"free")  # the track is gone, the cover stays
    (tmp_path / "b.mp4").write_bytes(cover)
    reason = r"^b\.mp4: has no video stream, only a cover picture$"
    with pytest.raises(ValueError, match=reason), open_video(tmp_path / "b.mp4"):
        pass


# Formats


class Server(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server that notes what it is asked."""
    Server.asked.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_port
        listening.shutdown()


LISTS = {
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "xml": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{target}</BaseURL></MPD>',
    "dash": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn"><BaseURL>{target}</BaseURL></MPD>',
    "asx": '<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
    "pls": "[playlist]\nFile1={target}\n",
    "rtsp": "RTSPtext\nrtsp://127.0.0.1:1/x\n",
}


@pytest.mark.parametrize("ending", ["mp4", "m3u8", "avi"])
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("target", ["good.mp4", "file:{folder}/good.mp4", "http://127.0.0.1:{port}/a.ts"])
def test_lists_of_other_files_are_refused_by_name(
    video: Path, server: int, name: str, target: str, ending: str
) -> None:
    path = video.with_name(f"list.{ending}")
    path.write_text(LISTS[name].format(target=target.format(folder=video.parent, port=server)))
    reason = rf"^list\.{ending}: a list of other files \((\w+)\), expected a video; nothing that it names was opened$"
    with pytest.raises(ValueError, match=reason) as refused, open_video(path):
        pass
    assert name in str(refused.value) or name == "xml"
    assert not Server.asked


def test_an_image_sequence_is_refused(tmp_path: Path) -> None:
    for number in range(1, 4):
        Image.fromarray(background(BIG)).save(tmp_path / f"frame-{number}.png")
    Image.fromarray(background(BIG)).save(tmp_path / "frame-%d.png")
    with pytest.raises(ValueError, match=r": a still image \(image2\), expected a video$"):
        open_video(tmp_path / "frame-%d.png").__enter__()


def test_each_refusal_has_its_name(tmp_path: Path) -> None:
    """FFmpeg leaves out lines of its log that repeat."""
    for number in range(3):
        path = tmp_path / f"{number}.avi"
        path.write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n")
        with pytest.raises(ValueError, match=rf"^{number}\.avi: of the format srt, expected a video such as AVI"):
            open_video(path).__enter__()
    assert av.logging.get_level() is None and av.logging.get_skip_repeated()


def test_the_formats_are_known_to_ffmpeg() -> None:
    known = {part for name in av.formats_available for part in name.split(",")}
    assert set(FORMATS.split(",")) <= known


# Names and tags


@pytest.mark.parametrize("folder", ["2024-05-01T10:30:00", "http:", "concat:x|y", "a%d", "with space?#"])
def test_a_name_means_nothing_to_ffmpeg(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(folder) / "clip.mp4"
    path.parent.mkdir()
    path.write_bytes(video.read_bytes())
    with open_video(path) as opened:
        assert opened.stream.codec_context.name == "h264"


def test_a_folder_that_is_not_utf_8(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xbb\xd3\xca\xd6")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with open_video(video.rename(folder / "clip.mp4")) as opened:
        assert opened.note is None


@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv"])
def test_a_title_that_is_not_utf_8_costs_nothing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE-TITLE!"
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = *BIG, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((*BIG, 3), np.uint8))))
        container.mux(stream.encode())
    title = "挥手的人们啊".encode("gbk")
    data = path.read_bytes()
    assert data.count(b"TITLE-TITLE!") == 1
    path.write_bytes(data.replace(b"TITLE-TITLE!", title))
    with open_video(path) as opened:
        assert len(list(opened.container.decode(opened.stream))) == 1


@needs_proc
def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="no video stream") as held, open_video(tmp_path / "a.mp4"):
        pass
    assert held.value is not None and open_files(tmp_path) == []
