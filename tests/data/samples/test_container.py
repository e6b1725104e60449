"""Which files are opened, and which of their streams: no list of other files, no cover picture, whatever the names."""

import http.server
import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from epam_data.samples import video
from epam_data.samples.video import decode_crop, video_shape
from tests.data.raw_data import SMALL_HW, background, write_video

WHOLE = (0, 0, SMALL_HW[1], SMALL_HW[0])
both_decoders = pytest.mark.parametrize("decoder", ["pyav", "decord"])


def film(count: int = 12, hw: tuple[int, int] = SMALL_HW, seed: int = 0) -> list[np.ndarray]:
    """Frames that grow brighter, and of which each seed has its own."""
    still = background(hw, seed)
    return [np.clip(still.astype(int) // 2 + 8 * number, 0, 255).astype(np.uint8) for number in range(count)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    write_video(path, film())
    return path


@pytest.fixture
def hits() -> Iterator[tuple[int, list[str]]]:
    """The port of a web server, and what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


@both_decoders
@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile plain.mp4\n",
        "ffconcat version 1.0\nfile {plain}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nplain.mp4\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/seg.ts\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>http://127.0.0.1:{port}/</BaseURL>'
        "</Period></MPD>",
        ";FFMETADATA1\ntitle=x\n",
    ],
    ids=["ffconcat", "ffconcat absolute", "HLS", "HLS http", "SDP", "DASH", "metadata"],
)
def test_a_list_of_other_files_is_no_video(
    plain: Path, tmp_path: Path, hits: tuple[int, list[str]], text: str, decoder: str
) -> None:
    port, asked = hits
    (tmp_path / "plain.mp4").write_bytes(plain.read_bytes())
    (tmp_path / "v.mp4").write_text(text.replace("{plain}", str(plain)).replace("{port}", str(port)))
    with pytest.raises(ValueError, match=r"^v\.mp4: not (in a container that is read|a readable video)"):
        decode_crop(tmp_path / "v.mp4", WHOLE, 32, 5, decoder)
    assert asked == []


@both_decoders
@pytest.mark.parametrize("folder", ["2024-05-01T10:30:00", "a b:c", "挥手"])
def test_a_folder_may_have_any_name(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, decoder: str
) -> None:
    """FFmpeg takes what stands before a colon for a protocol."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "v.mp4").write_bytes(plain.read_bytes())
    monkeypatch.chdir(tmp_path)
    frames, count = decode_crop(Path(folder) / "v.mp4", WHOLE, 32, 20, decoder)
    expected, _ = decode_crop(plain, WHOLE, 32, 20)
    assert count == 12 and np.array_equal(frames, expected)


@both_decoders
def test_a_folder_whose_name_is_not_utf_8(plain: Path, tmp_path: Path, decoder: str) -> None:
    folder = os.fsencode(tmp_path) + "/挥手".encode("gbk")
    try:
        os.mkdir(folder)  # noqa: PTH102  (bytes)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    path = Path(os.fsdecode(folder)) / "v.mp4"
    path.write_bytes(plain.read_bytes())
    frames, count = decode_crop(path, WHOLE, 32, 20, decoder)
    assert count == 12 and np.array_equal(frames, decode_crop(plain, WHOLE, 32, 20)[0])


@both_decoders
@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv"])
def test_a_title_that_is_not_utf_8_costs_nothing(tmp_path: Path, ending: str, decoder: str) -> None:
    mark, title = "TITLE-TITLE!", "挥手的人们啊".encode("gbk")
    path = tmp_path / f"v.{ending}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = mark
        add(container, film())
    data = path.read_bytes()
    assert mark.encode() in data and len(title) == len(mark)
    path.write_bytes(data.replace(mark.encode(), title))
    assert decode_crop(path, WHOLE, 32, 20, decoder)[1] == 12


def add(container: av.container.OutputContainer, *films: list[np.ndarray]) -> None:
    """Write films as streams of one file, the packets of the first before those of the second."""
    streams = []
    for frames in films:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10"}
        streams.append(stream)
    packets = []
    for stream, frames in zip(streams, films, strict=True):
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            packets += stream.encode(picture)
        packets += stream.encode()
    for packet in sorted(packets, key=lambda each: float((each.dts or 0) * each.time_base)):
        container.mux(packet)


@both_decoders
@pytest.mark.parametrize("first", ["small", "large"])
def test_of_two_films_both_decoders_take_one(tmp_path: Path, first: str, decoder: str) -> None:
    """A thumbnail track before or behind the film."""
    large, small = film(12), film(12, (48, 64), seed=1)
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        add(container, *((small, large) if first == "small" else (large, small)))
    assert video_shape(path).size == SMALL_HW
    frames, count = decode_crop(path, WHOLE, SMALL_HW[0], 20, decoder)
    alone = tmp_path / "alone.mp4"
    write_video(alone, large)
    expected, _ = decode_crop(alone, WHOLE, SMALL_HW[0], 20)
    assert count == 12 and np.abs(frames.astype(int) - expected).mean() < 4


@both_decoders
def test_a_cover_picture_is_no_film(tmp_path: Path, decoder: str) -> None:
    """As some taggers write it, in front of the film and larger than it."""
    path = tmp_path / "cover.mkv"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SMALL_HW, "yuv420p"
        for packet in cover.encode(av.VideoFrame(640, 480, "yuvj420p")):
            container.mux(packet)
        for number, frame in enumerate(film()):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        if not container.streams.video[0].disposition & Disposition.attached_pic:
            pytest.skip("this PyAV writes no cover pictures")
    assert video_shape(path).size == SMALL_HW and decode_crop(path, WHOLE, 32, 20, decoder)[1] == 12


def test_decord_is_used_only_where_it_gives_the_same_frames(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    calls = []

    def other_frames(path: Path, box: video.Box) -> Iterator[np.ndarray]:
        calls.append(path)
        for frame in video._decode_pyav(path, box):
            yield 255 - frame

    expected, _ = decode_crop(plain, WHOLE, 32, 20)
    for reader, is_used in ((video._read_decord, True), (other_frames, False), (lambda *_: iter(()), False)):
        monkeypatch.setattr(video, "_PROVEN", {})
        monkeypatch.setattr(video, "_read_decord", reader)
        frames, count = decode_crop(plain, WHOLE, 32, 20, "decord")
        assert count == 12 and np.array_equal(frames, expected)
        assert list(video._PROVEN.values()) == [is_used]
    decode_crop(plain, WHOLE, 32, 20, "decord")
    assert len(calls) == 1, "a kind is tried once"
