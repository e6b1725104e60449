"""Decoding: the right frames in the right order, cropped in YUV exactly as if whole frames were converted."""

import gc
import re
import wave
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from epam_data.readers.videos import VideoFinder
from epam_data.samples.settings import Decoder
from epam_data.samples.video import DECODERS, Box, decode_crop, video_size
from tests.data.raw_data import SMALL_HW, background, cut_avi, draw_dot, write_video

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
def test_cropping_in_yuv_equals_cropping_whole_frames(recordings: Path, x: int, y: int, size: int, name: str) -> None:
    """A crop of its own size is not resampled, so the bytes must be equal."""
    box = (x, y, x + size, y + size)
    frames, _ = decode_crop(recordings / name, box, size, 2)
    np.testing.assert_array_equal(frames, cut(whole_frames(recordings / name)[:2], box))


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
    assert video_size(recordings / "plain.avi") == SMALL_HW
    assert video_size(recordings / "odd.mp4") == (97, 127)


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
    with wave.open(str(tmp_path / "sound.avi"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    for use in (video_size, lambda path: decode_crop(path, WHOLE, 32, 5)):
        with pytest.raises(ValueError, match=r"^sound\.avi: has no video stream$"):
            use(tmp_path / "sound.avi")


class TestFinder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "train").mkdir()
        for name in ("a_rgb.avi", "a.mp4", "b.mp4", "train/c.mp4", "d.avi", "train/d.avi", "e.mkv"):
            (tmp_path / name).touch()
        return tmp_path

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("a", "a_rgb.avi"),
            ("b", "b.mp4"),
            ("train/c", "train/c.mp4"),
            ("train/b", "b.mp4"),
            ("train/d", "train/d.avi"),
            ("d", "d.avi"),
            ("c", None),
            ("e", None),
            ("nowhere/x", None),
        ],
    )
    def test_it_finds_by_name_in_the_folder_then_in_the_root(self, folder: Path, name: str, found: str | None) -> None:
        assert VideoFinder(folder).find(name) == found

    def test_an_absent_root_is_refused(self, tmp_path: Path) -> None:
        message = f"{tmp_path / 'none'}: no such folder, expected the videos"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            VideoFinder(tmp_path / "none")


def test_frames_are_not_kept_alive(recordings: Path) -> None:
    gc.collect()
    gc.disable()  # at 1080p a few seconds' frames between two collections are a gigabyte
    try:
        decode_crop(recordings / "plain.mp4", (0, 0, 64, 64), 32, 100)
        alive = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 2
