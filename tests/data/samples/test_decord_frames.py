"""decord decodes a file where it gives PyAV's frames; else PyAV does, and a note says why."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from epam_data.samples import decord_frames
from epam_data.samples.video import decode_clip, video_shape
from tests.data.raw_data import SMALL_HW, background, draw_dot, write_video

decord = pytest.importorskip("decord")

SQUARE = (0, 0, 128, 128)
COUNT = 12


def frames(hw: tuple[int, int] = SMALL_HW, count: int = COUNT) -> list[np.ndarray]:
    images = [background(hw, 3) for _ in range(count)]
    for number, image in enumerate(images):
        draw_dot(image, 10 + 4 * number, 20 + 2 * number)
    return images


@pytest.fixture(autouse=True)
def _nothing_is_proven() -> Iterator[None]:
    decord_frames._proven.clear()
    yield
    decord_frames._proven.clear()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "plain.mp4", frames())
    return tmp_path / "plain.mp4"


def assert_alike(path: Path, note: str | None) -> None:
    ours, theirs = (decode_clip(path, SQUARE, 64, 100, decoder) for decoder in ("pyav", "decord"))
    assert ours.num_decoded == theirs.num_decoded == COUNT and ours.note is None
    np.testing.assert_array_equal(ours.frames, theirs.frames)
    assert theirs.note == (note and f"decoded by PyAV, since decord {note}")


def write_palette(path: Path) -> None:
    """An AVI of indexes into 256 colours; PyAV cannot make its palette from RGB."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=30)
        stream.height, stream.width, stream.pix_fmt = *SMALL_HW, "pal8"
        colours = np.stack([np.full(256, 255), *(np.arange(256) * step % 256 for step in (7, 3, 1))])
        for number in range(COUNT):
            index = np.add.outer(np.arange(SMALL_HW[0]), np.arange(SMALL_HW[1]) + number).astype(np.uint8)
            palette = np.ascontiguousarray(colours.T.astype(np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray((index, palette), "pal8")))
        container.mux(stream.encode())


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_common_kinds_are_proven_and_decoded(tmp_path: Path, ending: str) -> None:
    write_video(tmp_path / f"plain.{ending}", frames())
    assert_alike(tmp_path / f"plain.{ending}", None)
    assert len(decord_frames._proven) == 1


@pytest.mark.parametrize("ending", ["ts", "mp4", "avi"])
def test_mpeg_ts_under_any_ending(tmp_path: Path, ending: str) -> None:
    write_video(tmp_path / "a.ts", frames())
    path = (tmp_path / "a.ts").rename(tmp_path / f"b.{ending}")
    clip = decode_clip(path, SQUARE, 64, 100, "decord")
    np.testing.assert_array_equal(clip.frames, decode_clip(path, SQUARE, 64, 100).frames)
    assert clip.num_decoded == COUNT


def test_an_avi_with_a_palette(tmp_path: Path) -> None:
    write_palette(tmp_path / "palette.avi")
    assert_alike(tmp_path / "palette.avi", "gives another frame 0")
    assert not decord_frames._proven, "what differs is not remembered, so a note does not depend on other files"


def test_several_streams(tmp_path: Path) -> None:
    """A preview before the picture."""
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        small, big = (container.add_stream("libx264", rate=30) for _ in range(2))
        (small.height, small.width), (big.height, big.width) = (48, 64), SMALL_HW
        for stream in (small, big):
            stream.pix_fmt = "yuv420p"
        for image in frames():
            container.mux(small.encode(av.VideoFrame.from_ndarray(background((48, 64)), "rgb24")))
            container.mux(big.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        for stream in (small, big):
            container.mux(stream.encode())
    assert video_shape(path).size == SMALL_HW
    assert_alike(path, "cannot be told which of several video streams to decode")


def test_a_path_that_is_not_utf_8(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert_alike(video.rename(folder / "a.mp4"), "cannot open a path that is not UTF-8")


def test_a_path_with_a_colon(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "10:30").mkdir()
    video.rename(tmp_path / "10:30" / "a.mp4")
    monkeypatch.chdir(tmp_path)
    assert_alike(Path("10:30") / "a.mp4", None)


# A decord that is wrong


class Wrong:
    """A decord whose images differ from those that it would give."""

    def __init__(self, change: Any) -> None:
        self.change, self.calls = change, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        reader = _READER(*args, **options)
        images = [reader[index] for index in range(len(reader))]
        return self.change(images)


_READER = decord.VideoReader


class Image:
    def __init__(self, image: np.ndarray) -> None:
        self._image = image

    def asnumpy(self) -> np.ndarray:
        return self._image


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda images: [*images[:5], images[6], images[5], *images[7:]], "gives another frame 5"),
        (lambda images: images[:-1], "gives 11 frames, PyAV more"),
        (lambda images: [*images, images[-1]], "gives 13 frames of 12"),
        (lambda images: [Image(image.asnumpy()[..., ::-1].copy()) for image in images], "gives another frame 0"),
        (lambda images: [Image(image.asnumpy()[::2].copy()) for image in images], "gives another frame 0"),
    ],
    ids=["order", "too few", "too many", "colours", "size"],
)
def test_a_kind_is_compared_before_its_first_use(
    video: Path, monkeypatch: pytest.MonkeyPatch, change: Any, note: str
) -> None:
    monkeypatch.setattr(decord, "VideoReader", Wrong(change))
    assert_alike(video, note)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda images: images[:-1], "gives 11 frames of 12"),
        (lambda images: images[1:], "gives another first frame"),
    ],
    ids=["too few", "the first is lost"],
)
def test_further_files_of_a_proven_kind_are_compared_in_first_frame_and_number(
    video: Path, monkeypatch: pytest.MonkeyPatch, change: Any, note: str
) -> None:
    assert_alike(video, None)
    wrong = Wrong(change)
    monkeypatch.setattr(decord, "VideoReader", wrong)
    assert_alike(video, note)
    assert wrong.calls == 1


def test_a_proven_kind_is_decoded_once_and_its_key_frames_looked_at(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_alike(video, None)
    looked, key_frames = [], decord_frames.key_frames

    def counted(*args: Any) -> Iterator[Any]:
        for frame in key_frames(*args):
            looked.append(frame.key_frame)
            yield frame

    monkeypatch.setattr(decord_frames, "key_frames", counted)
    monkeypatch.setattr(decord_frames, "decoded_frames", None)
    right = Wrong(lambda images: images)
    monkeypatch.setattr(decord, "VideoReader", right)
    assert decode_clip(video, SQUARE, 64, 100, "decord").note is None
    assert looked == [True] and right.calls == 1


def test_where_decord_is_not_installed_pyav_decodes(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    assert_alike(video, "is not installed")
