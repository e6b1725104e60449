"""Videos as they come: other formats and sizes, uneven times, turned, cut off, damaged, or no videos at all.

Each is decoded by both decoders, which must agree on the frames or both refuse the file, with a reason that names it.
"""

import io
import os
import re
import struct
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from epam_data.samples.video import DECODERS, Box, decode_crop, video_size
from tests.data.raw_data import SMALL_HW, cut_avi, write_video
from tests.data.samples.test_video import cut, dot_place, numbered_frames, whole_frames

NUM_FRAMES = 12
WHOLE = (0, 0, 128, 128)

both_decoders = pytest.mark.parametrize("decoder", DECODERS)
both_containers = pytest.mark.parametrize("ending", ["avi", "mp4"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ordinary recording as `plain.avi` and `plain.mp4`."""
    folder = tmp_path_factory.mktemp("plain")
    for ending in ("avi", "mp4"):
        write_video(folder / f"plain.{ending}", numbered_frames(NUM_FRAMES))
    return folder


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def assert_numbered(frames: np.ndarray, first: int = 0, count: int = NUM_FRAMES) -> None:
    """Frame i of `numbered_frames`, whole and in its own size, follows frame i - 1."""
    assert len(frames) == count
    for number, image in enumerate(frames, first):
        rows, columns = np.nonzero(image.min(axis=-1) > 190)
        assert (columns.mean(), rows.mean()) == pytest.approx(dot_place(number), abs=0.5)


def refusal(path: Path, decoder: str) -> str:
    with pytest.raises(ValueError) as caught:
        decode_crop(path, WHOLE, 32, 100, decoder)
    assert "\n" not in str(caught.value) and str(path.parent) not in str(caught.value)
    return str(caught.value)


# Formats and sizes

FORMATS = {
    "mpeg4.avi": ("mpeg4", "yuv420p", (95, 127)),
    "odd_width.avi": ("mpeg4", "yuv420p", (96, 127)),
    "odd_height.avi": ("mpeg4", "yuv420p", (95, 128)),
    "mjpeg.avi": ("mjpeg", "yuvj420p", (95, 127)),
    "h264_444.mp4": ("libx264", "yuv444p", (95, 127)),
    "h264_422.mp4": ("libx264", "yuv422p", (95, 128)),
    "h264_10_bit.mp4": ("libx264", "yuv420p10le", SMALL_HW),
    "h264_gray.mp4": ("libx264", "gray", (95, 127)),
    "narrow.mp4": ("libx264", "yuv420p", (96, 48)),  # of rows that decord pads to 4/3
}
CHROMA_LEFT = {"mpeg4.avi", "odd_width.avi", "odd_height.avi", "h264_422.mp4", "h264_10_bit.mp4"}
"""decord interpolates their chroma where the codec says that it lies, PyAV in the middle."""


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    for name, (codec, pix_fmt, hw) in FORMATS.items():
        write_video(folder / name, numbered_frames(4, hw), pix_fmt, codec)
    return folder


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("box", [WHOLE, (31, 7, 62, 38), (97, 65, 127, 95), (-20, -11, 25, 34), (90, 70, 140, 120)])
def test_a_crop_is_a_part_of_the_whole_frame(formats: Path, name: str, box: Box) -> None:
    expected = cut(whole_frames(formats / name), box)
    size = box[2] - box[0]
    frames, _ = decode_crop(formats / name, box, size, 10)
    np.testing.assert_array_equal(frames, expected)
    frames, _ = decode_crop(formats / name, box, size, 10, "decord")
    difference = np.abs(frames.astype(int) - expected)
    if name in CHROMA_LEFT:
        assert difference.mean() < 2 and difference.max() <= 24
    else:
        assert difference.max() == 0
    assert video_size(formats / name) == FORMATS[name][2]


@both_decoders
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_uneven_times_change_no_frame(tmp_path: Path, ending: str, decoder: str) -> None:
    times = [0, 10, 11, 50, 51, 52, 400, 401, 500, 900, 901, 2000]
    path = tmp_path / f"uneven.{ending}"
    write_video(path, numbered_frames(NUM_FRAMES), times_ms=times)
    with av.open(str(path)) as container:
        assert [round(1000 * frame.time) for frame in container.decode(video=0)] == times
    assert_numbered(decode_crop(path, WHOLE, 128, 100, decoder)[0])


# Names that lie


@both_decoders
@pytest.mark.parametrize("names", [("a.mp4", "a.avi"), ("a.avi", "a.mp4"), ("a.mkv", "a.mp4"), ("a.mkv", "a.avi")])
def test_the_ending_does_not_matter(tmp_path: Path, names: tuple[str, str], decoder: str) -> None:
    write_video(tmp_path / names[0], numbered_frames(NUM_FRAMES))
    path = (tmp_path / names[0]).rename(tmp_path / names[1])
    assert_numbered(decode_crop(path, WHOLE, 128, 100, decoder)[0])
    assert video_size(path) == SMALL_HW


@both_decoders
def test_a_webm_named_mp4_is_read(tmp_path: Path, decoder: str) -> None:
    write_video(tmp_path / "a.webm", numbered_frames(NUM_FRAMES, (95, 127)), codec="libvpx", b="2M")
    path = (tmp_path / "a.webm").rename(tmp_path / "a.mp4")
    assert_numbered(decode_crop(path, WHOLE, 128, 100, decoder)[0])


def test_a_bare_stream_is_read_by_pyav_and_refused_by_decord(tmp_path: Path) -> None:
    """decord's own message holds the time of day, a line of its source and the whole path; a reason does not."""
    write_video(tmp_path / "a.h264", numbered_frames(NUM_FRAMES))
    path = (tmp_path / "a.h264").rename(tmp_path / "a.avi")
    assert_numbered(decode_crop(path, WHOLE, 128, 100)[0])
    problem = "[a.avi] Failed to measure duration/frame-count due to broken metadata."
    assert refusal(path, "decord") == f"a.avi: decoding failed ({problem})"


def image_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(numbered_frames(1)[0]).save(file, kind)
    return file.getvalue()


def zip_bytes() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.txt", "frames " * 1000)
    return file.getvalue()


@both_decoders
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not a readable video (Invalid data found"),
        (b"Sorry, this file has moved.\n" * 200, "not a readable video (Invalid data found"),
        (zip_bytes(), "not a readable video (Invalid data found"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n", "has no video stream"),
        (image_bytes("png"), "a still image (png_pipe), expected a video"),
        (image_bytes("jpeg"), "a still image (jpeg_pipe), expected a video"),
    ],
    ids=["html", "text", "zip", "subtitles", "png", "jpeg"],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes, reason: str, decoder: str) -> None:
    (tmp_path / "other.avi").write_bytes(content)
    assert refusal(tmp_path / "other.avi", decoder).startswith(f"other.avi: {reason}")
    with pytest.raises(ValueError, match=f"^other.avi: {re.escape(reason)}"):
        video_size(tmp_path / "other.avi")


@both_decoders
def test_a_fifo_and_a_folder_are_refused(tmp_path: Path, decoder: str) -> None:
    """A decoder would wait for ever for somebody to write into the FIFO."""
    os.mkfifo(tmp_path / "fifo.avi")
    (tmp_path / "folder.avi").mkdir()
    for name in ("fifo.avi", "folder.avi"):
        assert refusal(tmp_path / name, decoder) == f"{name}: not a regular file, expected a video"


# Turned videos


def with_matrix(mp4: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """An MP4 whose pixel (x, y) is to be shown at (ax + cy, bx + dy), apart from a shift."""
    place = mp4.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", mp4, place) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (round(value * 65536) for value in (a, b, c, d))
    return mp4[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + mp4[place + 36 :]


@both_decoders
@pytest.mark.parametrize(
    ("matrix", "clockwise"),
    [
        ((0, 1, -1, 0), 1),
        ((-1, 0, 0, -1), 2),
        ((0, -1, 1, 0), 3),
        ((1e-4, 1, -1, 1e-4), 1),  # the cosine of 90 degrees, rounded
        ((0, 2, -1, 0), 1),  # pixels that are not square are left so
        ((0, 0, 0, 0), 0),
    ],
)
def test_turned_videos_come_upright(
    plain: Path, tmp_path: Path, matrix: tuple[float, float, float, float], clockwise: int, decoder: str
) -> None:
    path = tmp_path / "turned.mp4"
    path.write_bytes(with_matrix((plain / "plain.mp4").read_bytes(), *matrix))
    expected = np.rot90(whole_frames(plain / "plain.mp4"), -clockwise, axes=(1, 2))
    assert video_size(path) == expected.shape[1:3] == (SMALL_HW if clockwise % 2 == 0 else SMALL_HW[::-1])
    for box in (WHOLE, (13, 50, 50, 87)):
        frames, count = decode_crop(path, box, box[2] - box[0], 100, decoder)
        assert count == NUM_FRAMES
        np.testing.assert_array_equal(frames, cut(expected, box))


@both_decoders
@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ((-1, 0, 0, 1), "-1 0 0 1"),
        ((0, 1, 1, 0), "0 1 1 0"),
        ((0.75, 0.5, -0.5, 0.75), r"0.75 0.5 -0.5 0.75"),
    ],
    ids=["mirrored", "mirrored and turned", "tilted"],
)
def test_other_matrices_are_refused(
    plain: Path, tmp_path: Path, matrix: tuple[float, float, float, float], words: str, decoder: str
) -> None:
    path = tmp_path / "odd.mp4"
    path.write_bytes(with_matrix((plain / "plain.mp4").read_bytes(), *matrix))
    reason = f"odd.mp4: display matrix {words} is not a rotation by 0, 90, 180 or 270 degrees"
    assert refusal(path, decoder) == reason
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        video_size(path)


# Fewer frames than announced


def announcing(data: bytes, count: int) -> bytes:
    """The recording with another number of frames in its header."""
    if data.startswith(b"RIFF"):
        places = [(data.index(b"avih") + 24, "<I"), (data.index(b"strh") + 40, "<I")]
    else:
        places = [(data.index(b"stts") + 12, ">I")]
    changed = bytearray(data)
    for place, code in places:
        assert struct.unpack_from(code, data, place) == (NUM_FRAMES,)
        struct.pack_into(code, changed, place, count)
    return bytes(changed)


def cut_off(path: Path, num_frames: int) -> bytes:
    """The recording behind whose first frames everything is gone."""
    data = path.read_bytes()
    if path.suffix == ".avi":
        return cut_avi(data, num_frames)
    return data[: data.index(packets(path)[num_frames])]


@both_decoders
@both_containers
def test_a_header_that_announces_too_many_frames_changes_nothing(
    plain: Path, tmp_path: Path, ending: str, decoder: str
) -> None:
    path = tmp_path / f"boasting.{ending}"
    path.write_bytes(announcing((plain / f"plain.{ending}").read_bytes(), 100_000))
    frames, count = decode_crop(path, WHOLE, 128, 100, decoder)
    assert count == NUM_FRAMES
    assert_numbered(frames)


@both_decoders
@both_containers
def test_a_recording_that_was_cut_off_gives_the_frames_it_has(
    plain: Path, tmp_path: Path, ending: str, decoder: str
) -> None:
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(cut_off(plain / f"plain.{ending}", 7))
    assert decode_crop(path, WHOLE, 128, 100, decoder)[1] == 7
    path.write_bytes(cut_off(plain / f"plain.{ending}", 0))
    assert refusal(path, decoder) == f"cut.{ending}: no frame could be decoded"


@both_decoders
def test_a_trimmed_mp4_gives_what_is_left(plain: Path, tmp_path: Path, decoder: str) -> None:
    """Its edit list hides the first frames, the only key frame too; they are in the file all the same."""
    data = bytearray((plain / "plain.mp4").read_bytes())
    place = data.index(b"elst") + 16
    (start,) = struct.unpack_from(">i", data, place)
    struct.pack_into(">i", data, place, start + 3 * 512)  # 512 ticks a frame
    (tmp_path / "trimmed.mp4").write_bytes(data)
    assert_numbered(decode_crop(tmp_path / "trimmed.mp4", WHOLE, 128, 100, decoder)[0], first=3, count=NUM_FRAMES - 3)
    assert video_size(tmp_path / "trimmed.mp4") == SMALL_HW


@both_decoders
def test_a_header_that_breaks_off_is_refused(plain: Path, tmp_path: Path, decoder: str) -> None:
    data = (plain / "plain.mp4").read_bytes()
    (tmp_path / "header.mp4").write_bytes(data[: data.index(b"stsd") - 4])
    reason = "header.mp4: its video stream has an unknown codec"
    assert refusal(tmp_path / "header.mp4", decoder) == reason
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        video_size(tmp_path / "header.mp4")


# Damage within


@both_decoders
def test_a_second_size_in_mid_stream_is_refused(tmp_path: Path, decoder: str) -> None:
    parts = []
    for hw in (SMALL_HW, (64, 80)):
        write_video(tmp_path / "part.h264", numbered_frames(6, hw))
        parts.append((tmp_path / "part.h264").read_bytes())
    (tmp_path / "two.avi").write_bytes(b"".join(parts))
    reason = "two.avi: the frame size changes from 128 x 96 to 80 x 64 pixels"
    assert refusal(tmp_path / "two.avi", decoder) == reason


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        ("pyav", r"Invalid data found when processing input"),
        ("decord", r"Check failed: .* Thread worker: Error sending packet\."),
    ],
)
@both_containers
def test_a_frame_that_cannot_be_decoded_fails_the_clip(
    plain: Path, tmp_path: Path, ending: str, decoder: str, words: str
) -> None:
    path = plain / f"plain.{ending}"
    packet = packets(path)[6]
    bad = tmp_path / f"bad.{ending}"
    bad.write_bytes(path.read_bytes().replace(packet, packet[:4].ljust(len(packet), b"\xff")))
    assert video_size(bad) == SMALL_HW
    assert re.fullmatch(rf"bad\.{ending}: decoding failed \({words}\)", refusal(bad, decoder))


@pytest.mark.parametrize("damage", ["smeared", "lost"])
def test_damage_that_ffmpeg_conceals_looks_alike(plain: Path, tmp_path: Path, damage: str) -> None:
    """A wrong bit smears a picture, a broken AVI chunk is passed over with its picture: neither decoder complains."""
    data = bytearray((plain / "plain.avi").read_bytes())
    packet = packets(plain / "plain.avi")[6]
    place = data.index(packet)
    if damage == "smeared":
        data[place + len(packet) // 2] ^= 0xFF
    else:
        data[place - 8 : place] = bytes(8)
    (tmp_path / "bad.avi").write_bytes(data)
    frames, count = decode_crop(tmp_path / "bad.avi", WHOLE, 128, 100)
    assert count == (NUM_FRAMES if damage == "smeared" else NUM_FRAMES - 1)
    np.testing.assert_array_equal(frames, decode_crop(tmp_path / "bad.avi", WHOLE, 128, 100, "decord")[0])
