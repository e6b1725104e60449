"""Decoding: the right frames in the right order, cropped in YUV exactly as if whole frames were converted."""

import gc
import io
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from epam_data.samples import video
from epam_data.samples.settings import Decoder
from epam_data.samples.video import DECODERS, Box, decode_clip, decode_crop, video_shape
from tests.data.raw_data import (
    SMALL_HW,
    background,
    cut_avi,
    draw_dot,
    needs_proc,
    open_files,
    write_sound,
    write_video,
)

NUM_FRAMES = 24
WHOLE = (0, 0, 128, 96)


def dot_place(number: int) -> tuple[int, int]:
    return 10 + 4 * number, 20 + 2 * number


def numbered_frames(count: int = NUM_FRAMES, hw: tuple[int, int] = SMALL_HW) -> list[np.ndarray]:
    """Frame i has its dot at `dot_place(i)`."""
    frames = [background(hw, 3) for _ in range(count)]
    for number, image in enumerate(frames):
        draw_dot(image, *dot_place(number))
    return frames


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames in several wrappings."""
    folder = tmp_path_factory.mktemp("videos")
    for ending in ("avi", "mp4"):
        write_video(folder / f"plain.{ending}", numbered_frames())
    write_video(folder / "bt709.mp4", numbered_frames(6), **{"x264-params": "colormatrix=bt709"})
    write_video(folder / "full_range.mp4", numbered_frames(6), pix_fmt="yuvj420p")
    write_video(folder / "yuv444.mp4", numbered_frames(6), pix_fmt="yuv444p")
    write_video(folder / "odd.mp4", numbered_frames(6, (97, 127)), pix_fmt="yuv444p")
    return folder


def whole_frames(path: Path) -> np.ndarray:
    """(T, H, W, 3): every frame converted as a whole, and as FFmpeg does it unless told otherwise."""
    with av.open(str(path)) as container:
        return np.stack(
            [frame.to_ndarray(format="rgb24", interpolation="BICUBIC") for frame in container.decode(video=0)]
        )


def cut(images: np.ndarray, box: Box) -> np.ndarray:
    """Crop (T, H, W, 3), black outside."""
    x1, y1, x2, y2 = box
    out = np.zeros((len(images), y2 - y1, x2 - x1, 3), np.uint8)
    for y in range(max(y1, 0), min(y2, images.shape[1])):
        for x in range(max(x1, 0), min(x2, images.shape[2])):
            out[:, y - y1, x - x1] = images[:, y, x]
    return out


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("name", ["plain.avi", "plain.mp4"])
def test_frame_i_is_the_ith_frame(recordings: Path, name: str, decoder: str) -> None:
    frames, count = decode_crop(recordings / name, (0, 0, 128, 128), 128, 100, decoder)
    assert count == NUM_FRAMES and frames.shape == (NUM_FRAMES, 128, 128, 3) and frames.dtype == np.uint8
    for number, image in enumerate(frames):
        rows, columns = np.nonzero(image.min(axis=-1) > 190)
        assert (columns.mean(), rows.mean()) == pytest.approx(dot_place(number), abs=0.5)


def test_the_avi_has_stamps_that_do_not_rise(recordings: Path) -> None:
    """Like NTU's: what sorts or seeks by time stamps gives wrong frames."""
    with av.open(str(recordings / "plain.avi")) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps) and len(stamps) == NUM_FRAMES


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    x=st.integers(-30, 120), y=st.integers(-30, 90), size=st.integers(9, 60),
    name=st.sampled_from(["bt709.mp4", "full_range.mp4", "yuv444.mp4", "odd.mp4"]),
)  # fmt: skip
@example(x=0, y=0, size=60, name="bt709.mp4")
@example(x=1, y=1, size=31, name="bt709.mp4")
@example(x=119, y=87, size=9, name="full_range.mp4")
@example(x=-30, y=-30, size=30, name="bt709.mp4")
@example(x=120, y=90, size=60, name="odd.mp4")
@example(x=-30, y=10, size=30, name="bt709.mp4")
@example(x=10, y=-30, size=30, name="bt709.mp4")
@example(x=128, y=10, size=30, name="bt709.mp4")
@example(x=10, y=96, size=30, name="bt709.mp4")
def test_cropping_in_yuv_equals_cropping_whole_frames(recordings: Path, x: int, y: int, size: int, name: str) -> None:
    """A crop of its own size is not resampled, so the bytes must be equal."""
    box = (x, y, x + size, y + size)
    frames, _ = decode_crop(recordings / name, box, size, 2)
    np.testing.assert_array_equal(frames, cut(whole_frames(recordings / name)[:2], box))


@pytest.mark.parametrize(
    ("box", "converted"),
    [
        ((30, 20, 60, 50), (30, 30)),
        ((31, 21, 60, 50), (30, 30)),
        ((30, 20, 59, 49), (30, 30)),
        ((31, 21, 61, 51), (32, 32)),
        ((-7, -5, 29, 31), (32, 30)),
        ((101, 71, 141, 111), (26, 28)),
        (WHOLE, SMALL_HW),
    ],
)
@pytest.mark.parametrize("name", ["bt709.mp4", "full_range.mp4"])
def test_only_the_crop_is_converted(
    recordings: Path, monkeypatch: pytest.MonkeyPatch, name: str, box: Box, converted: tuple[int, int]
) -> None:
    """Out to whole pixels of chroma, which are 2 x 2: a person is a small part of a frame of 1920 x 1080."""
    sizes, to_rgb = set(), video.to_rgb

    def noted(frame: av.VideoFrame) -> np.ndarray:
        sizes.add((frame.height, frame.width))
        return to_rgb(frame)

    monkeypatch.setattr(video, "to_rgb", noted)
    decode_crop(recordings / name, box, 32, 2)
    assert sizes == {converted}


def test_a_decoder_uses_one_thread(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build runs one process for each core."""
    decord, contexts, threads = pytest.importorskip("decord"), [], []
    open_video, read_video = av.open, decord.VideoReader

    def opened(*args: Any, **options: Any) -> Any:
        container = open_video(*args, **options)
        contexts.append(container.streams.video[0].codec_context)
        return container

    def reader(*args: Any, **options: Any) -> Any:
        threads.append(options["num_threads"])
        return read_video(*args, **options)

    monkeypatch.setattr(av, "open", opened)
    monkeypatch.setattr(decord, "VideoReader", reader)
    for decoder in DECODERS:
        decode_crop(recordings / "bt709.mp4", WHOLE, 32, 2, decoder)
    assert contexts and {context.thread_count for context in contexts} == {1} and set(threads) == {1}


@pytest.mark.parametrize("name", ["plain.avi", "plain.mp4", "bt709.mp4", "full_range.mp4"])
@pytest.mark.parametrize("box", [WHOLE, (31, 7, 101, 77), (-20, -10, 60, 70)])
def test_both_decoders_give_equal_frames(recordings: Path, name: str, box: Box) -> None:
    one, count = decode_crop(recordings / name, box, 64, 100, "pyav")
    other, other_count = decode_crop(recordings / name, box, 64, 100, "decord")
    assert count == other_count
    np.testing.assert_array_equal(one, other)


def test_at_most_max_frames_are_kept_and_all_are_counted(recordings: Path) -> None:
    frames, count = decode_crop(recordings / "plain.avi", WHOLE, 32, 5)
    assert len(frames) == 5 and count == NUM_FRAMES
    everything, _ = decode_crop(recordings / "plain.avi", WHOLE, 32, 100)
    np.testing.assert_array_equal(frames, everything[:5])


def test_resizing_keeps_places_and_levels(tmp_path: Path) -> None:
    """A bright right half stays the right half, also where the resize stretches; flat colour stays flat."""
    image = np.full((*SMALL_HW, 3), 40, np.uint8)
    image[:, 64:] = 200
    write_video(tmp_path / "halves.avi", [image] * 3)
    for size in (16, 48, 200):
        (frame, *_), _ = decode_crop(tmp_path / "halves.avi", WHOLE, size, 3)
        half = size // 2
        left, right = frame[:, : half - size // 8], frame[:, half + size // 8 :]
        assert np.abs(left.astype(int) - 40).max() <= 3 and np.abs(right.astype(int) - 200).max() <= 3


def test_the_size_is_height_and_width(recordings: Path) -> None:
    assert video_shape(recordings / "plain.avi").size == SMALL_HW
    assert video_shape(recordings / "odd.mp4").size == (97, 127)


def test_a_truncated_recording_gives_the_frames_it_has(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.avi").write_bytes(cut_avi((recordings / "plain.avi").read_bytes(), 10))
    frames, count = decode_crop(tmp_path / "cut.avi", WHOLE, 32, 100)
    assert count == len(frames) == 10
    np.testing.assert_array_equal(frames[:-1], decode_crop(recordings / "plain.avi", WHOLE, 32, 100)[0][: count - 1])


def test_a_recipe_may_name_every_decoder() -> None:
    assert tuple(DECODERS) == get_args(Decoder)


def test_an_unknown_decoder_is_refused(recordings: Path) -> None:
    with pytest.raises(ValueError, match=r"^prepare\.decoder must be one of pyav, decord, got 'opencv'$"):
        decode_crop(recordings / "plain.avi", WHOLE, 32, 5, "opencv")


def test_absent_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^gone\.avi: no such file, expected a video$"):
        decode_crop(tmp_path / "gone.avi", WHOLE, 32, 5)
    (tmp_path / "empty.avi").touch()
    with pytest.raises(ValueError, match=r"^empty\.avi: an empty file, expected a video$"):
        decode_crop(tmp_path / "empty.avi", WHOLE, 32, 5)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_bytes_that_are_no_video_are_refused(tmp_path: Path, decoder: str) -> None:
    (tmp_path / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ValueError, match=r"^noise\.avi: (not a readable video|decoding failed) \("):
        decode_crop(tmp_path / "noise.avi", WHOLE, 32, 5, decoder)


def test_a_recording_without_a_video_stream_is_refused(tmp_path: Path) -> None:
    write_sound(tmp_path / "sound.avi")
    for use in (video_shape, lambda path: decode_crop(path, WHOLE, 32, 5)):
        with pytest.raises(ValueError, match=r"^sound\.avi: has no video stream$"):
            use(tmp_path / "sound.avi")


def test_frames_are_not_kept_alive(recordings: Path) -> None:
    gc.collect()
    gc.disable()  # at 1080p a few seconds' frames between two collections are a gigabyte
    try:
        decode_crop(recordings / "plain.mp4", (0, 0, 64, 64), 32, 100)
        alive = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 2


# Videos as they come: other formats and sizes, uneven times, turned, cut off, damaged, or no videos at all. Both
# decoders must agree on the frames, or both refuse the file, with a reason that names it.

FEW_FRAMES = 12
SQUARE = (0, 0, 128, 128)

both_decoders = pytest.mark.parametrize("decoder", DECODERS)
both_containers = pytest.mark.parametrize("ending", ["avi", "mp4"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ordinary recording as `plain.avi` and `plain.mp4`."""
    folder = tmp_path_factory.mktemp("plain")
    for ending in ("avi", "mp4"):
        write_video(folder / f"plain.{ending}", numbered_frames(FEW_FRAMES))
    return folder


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def assert_numbered(frames: np.ndarray, first: int = 0, count: int = FEW_FRAMES) -> None:
    """Frame i of `numbered_frames`, whole and in its own size, follows frame i - 1."""
    assert len(frames) == count
    for number, image in enumerate(frames, first):
        rows, columns = np.nonzero(image.min(axis=-1) > 190)
        assert (columns.mean(), rows.mean()) == pytest.approx(dot_place(number), abs=0.5)


def refusal(path: Path, decoder: str) -> str:
    with pytest.raises(ValueError) as caught:
        decode_crop(path, SQUARE, 32, 100, decoder)
    assert "\n" not in str(caught.value) and str(path.parent) not in str(caught.value)
    return str(caught.value)


# Formats and sizes

FORMATS = {
    "mpeg4.avi": ("mpeg4", "yuv420p", (95, 127)),
    "odd_width.avi": ("mpeg4", "yuv420p", (96, 127)),
    "odd_height.avi": ("mpeg4", "yuv420p", (95, 128)),
    "multiples_of_3.avi": ("mpeg4", "yuv420p", (99, 128)),
    "multiples_of_3.mkv": ("mpeg4", "yuv420p", (96, 129)),
    "mjpeg.avi": ("mjpeg", "yuvj420p", (95, 127)),
    "h264_444.mp4": ("libx264", "yuv444p", (95, 127)),
    "h264_422.mp4": ("libx264", "yuv422p", (95, 128)),
    "h264_10_bit.mp4": ("libx264", "yuv420p10le", SMALL_HW),
    "h264_gray.mp4": ("libx264", "gray", (95, 127)),
    "narrow.mp4": ("libx264", "yuv420p", (96, 48)),  # of rows that decord pads to 4/3
}
CHROMA_LEFT = {"mpeg4.avi", "odd_height.avi", "multiples_of_3.avi", "h264_422.mp4", "h264_10_bit.mp4"}
"""decord interpolates their chroma where the codec says that it lies, PyAV in the middle: PyAV decodes them."""


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    for name, (codec, pix_fmt, hw) in FORMATS.items():
        write_video(folder / name, numbered_frames(4, hw), pix_fmt, codec)
    return folder


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("box", [SQUARE, (31, 7, 62, 38), (97, 65, 127, 95), (-20, -11, 25, 34), (90, 70, 140, 120)])
def test_a_crop_is_a_part_of_the_whole_frame(formats: Path, name: str, box: Box) -> None:
    expected = cut(whole_frames(formats / name), box)
    size = box[2] - box[0]
    frames, _ = decode_crop(formats / name, box, size, 10)
    np.testing.assert_array_equal(frames, expected)
    frames, _, note = decode_clip(formats / name, box, size, 10, "decord")
    np.testing.assert_array_equal(frames, expected)
    assert (note is None) == (name not in CHROMA_LEFT)
    assert video_shape(formats / name).size == FORMATS[name][2]


@both_decoders
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_uneven_times_change_no_frame(tmp_path: Path, ending: str, decoder: str) -> None:
    times = [0, 10, 11, 50, 51, 52, 400, 401, 500, 900, 901, 2000]
    path = tmp_path / f"uneven.{ending}"
    write_video(path, numbered_frames(FEW_FRAMES), times_ms=times)
    with av.open(str(path)) as container:
        assert [round(1000 * frame.time) for frame in container.decode(video=0)] == times
    assert_numbered(decode_crop(path, SQUARE, 128, 100, decoder)[0])


# Names that lie


@both_decoders
@pytest.mark.parametrize("names", [("a.mp4", "a.avi"), ("a.avi", "a.mp4"), ("a.mkv", "a.mp4"), ("a.mkv", "a.avi")])
def test_the_ending_does_not_matter(tmp_path: Path, names: tuple[str, str], decoder: str) -> None:
    write_video(tmp_path / names[0], numbered_frames(FEW_FRAMES))
    path = (tmp_path / names[0]).rename(tmp_path / names[1])
    assert_numbered(decode_crop(path, SQUARE, 128, 100, decoder)[0])
    assert video_shape(path).size == SMALL_HW


@both_decoders
def test_a_webm_named_mp4_is_read(tmp_path: Path, decoder: str) -> None:
    write_video(tmp_path / "a.webm", numbered_frames(FEW_FRAMES, (95, 127)), codec="libvpx", b="2M")
    path = (tmp_path / "a.webm").rename(tmp_path / "a.mp4")
    assert_numbered(decode_crop(path, SQUARE, 128, 100, decoder)[0])


@both_decoders
def test_a_bare_stream_is_read(tmp_path: Path, decoder: str) -> None:
    """decord cannot count its frames."""
    write_video(tmp_path / "a.h264", numbered_frames(FEW_FRAMES))
    path = (tmp_path / "a.h264").rename(tmp_path / "a.avi")
    assert_numbered(decode_crop(path, SQUARE, 128, 100, decoder)[0])


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
        (b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n", "of the format srt, expected a video such as AVI"),
        (image_bytes("png"), "a still image (png_pipe), expected a video"),
        (image_bytes("jpeg"), "a still image (jpeg_pipe), expected a video"),
    ],
    ids=["html", "text", "zip", "subtitles", "png", "jpeg"],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes, reason: str, decoder: str) -> None:
    (tmp_path / "other.avi").write_bytes(content)
    assert refusal(tmp_path / "other.avi", decoder).startswith(f"other.avi: {reason}")
    with pytest.raises(ValueError, match=f"^other.avi: {re.escape(reason)}"):
        video_shape(tmp_path / "other.avi")


@needs_proc
@pytest.mark.parametrize("kind", ["a video", "an image", "damaged"])
def test_no_file_stays_open(plain: Path, tmp_path: Path, kind: str) -> None:
    """Not even while the error that refused it is held."""
    data = {"a video": (plain / "plain.avi").read_bytes(), "an image": image_bytes("png"), "damaged": b"text" * 200}
    (tmp_path / "clip.avi").write_bytes(data[kind])
    try:
        video_shape(tmp_path / "clip.avi")
    except ValueError as error:
        assert kind != "a video" and open_files(tmp_path) == [], error
    assert open_files(tmp_path) == []


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
        ((2, 0, 0, 1), 0),
        ((0, 0, 0, 0), 0),
    ],
)
def test_turned_videos_come_upright(
    plain: Path, tmp_path: Path, matrix: tuple[float, float, float, float], clockwise: int, decoder: str
) -> None:
    path = tmp_path / "turned.mp4"
    path.write_bytes(with_matrix((plain / "plain.mp4").read_bytes(), *matrix))
    expected = np.rot90(whole_frames(plain / "plain.mp4"), -clockwise, axes=(1, 2))
    assert video_shape(path).size == expected.shape[1:3] == (SMALL_HW if clockwise % 2 == 0 else SMALL_HW[::-1])
    for box in (SQUARE, (13, 50, 50, 87)):
        frames, count = decode_crop(path, box, box[2] - box[0], 100, decoder)
        assert count == FEW_FRAMES
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
        video_shape(path)


# Fewer frames than announced


def announcing(data: bytes, count: int) -> bytes:
    """The recording with another number of frames in its header."""
    if data.startswith(b"RIFF"):
        places = [(data.index(b"avih") + 24, "<I"), (data.index(b"strh") + 40, "<I")]
    else:
        places = [(data.index(b"stts") + 12, ">I")]
    changed = bytearray(data)
    for place, code in places:
        assert struct.unpack_from(code, data, place) == (FEW_FRAMES,)
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
    frames, count = decode_crop(path, SQUARE, 128, 100, decoder)
    assert count == FEW_FRAMES
    assert_numbered(frames)


@both_decoders
@both_containers
def test_a_recording_that_was_cut_off_gives_the_frames_it_has(
    plain: Path, tmp_path: Path, ending: str, decoder: str
) -> None:
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(cut_off(plain / f"plain.{ending}", 7))
    assert decode_crop(path, SQUARE, 128, 100, decoder)[1] == 7
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
    assert_numbered(decode_crop(tmp_path / "trimmed.mp4", SQUARE, 128, 100, decoder)[0], first=3, count=FEW_FRAMES - 3)
    assert video_shape(tmp_path / "trimmed.mp4").size == SMALL_HW


@both_decoders
def test_a_header_that_breaks_off_is_refused(plain: Path, tmp_path: Path, decoder: str) -> None:
    data = (plain / "plain.mp4").read_bytes()
    (tmp_path / "header.mp4").write_bytes(data[: data.index(b"stsd") - 4])
    reason = "header.mp4: its video stream has an unknown codec"
    assert refusal(tmp_path / "header.mp4", decoder) == reason
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        video_shape(tmp_path / "header.mp4")


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


@both_decoders
@both_containers
def test_a_frame_that_cannot_be_decoded_fails_the_clip(plain: Path, tmp_path: Path, ending: str, decoder: str) -> None:
    path = plain / f"plain.{ending}"
    packet = packets(path)[6]
    bad = tmp_path / f"bad.{ending}"
    bad.write_bytes(path.read_bytes().replace(packet, packet[:4].ljust(len(packet), b"\xff")))
    assert video_shape(bad).size == SMALL_HW
    reason = f"bad.{ending}: decoding failed (Invalid data found when processing input)"
    assert refusal(bad, decoder) == reason


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
    frames, count = decode_crop(tmp_path / "bad.avi", SQUARE, 128, 100)
    assert count == (FEW_FRAMES if damage == "smeared" else FEW_FRAMES - 1)
    np.testing.assert_array_equal(frames, decode_crop(tmp_path / "bad.avi", SQUARE, 128, 100, "decord")[0])
