from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from epam_data.samples import video_writer
from epam_data.samples.video_writer import write_video


def grey(level: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def test_every_picture_is_a_frame_in_order(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    write_video(path, (grey(level) for level in range(20, 220, 20)), fps=25, options={"crf": "10"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    np.testing.assert_allclose(levels, range(20, 220, 20), atol=3)


def test_options_reach_the_encoder(tmp_path: Path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    for crf in ("5", "45"):
        write_video(tmp_path / f"{crf}.mp4", [noise] * 3, fps=10, options={"crf": crf})
    assert (tmp_path / "5.mp4").stat().st_size > 2 * (tmp_path / "45.mp4").stat().st_size


def test_odd_sizes_lose_a_row_and_a_column(tmp_path: Path):
    write_video(tmp_path / "odd.avi", [grey(90, (65, 33))] * 2, fps=8)
    with av.open(str(tmp_path / "odd.avi")) as container:
        assert {(frame.width, frame.height) for frame in container.decode(video=0)} == {(64, 32)}


def test_what_cannot_be_written_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"clip\.words: cannot be written as a video \(.*\); an \.mp4 can$"):
        write_video(tmp_path / "clip.words", [grey(0)], fps=8)
    with pytest.raises(ValueError, match=r"clip\.mp4: no picture to write$"):
        write_video(tmp_path / "clip.mp4", [], fps=8)
    with pytest.raises(OSError, match=r"none/clip\.mp4"):
        write_video(tmp_path / "none" / "clip.mp4", [grey(0)], fps=8)


@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
def test_pixels_stay_in_their_places(tmp_path: Path, size: tuple[int, int]):
    picture = grey(40, size)
    picture.paste((200, 200, 200), (0, 0, 32, 24))
    write_video(tmp_path / "corner.mp4", [picture] * 3, fps=8, options={"crf": "1"})
    with av.open(str(tmp_path / "corner.mp4")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_allclose(frame.astype(int), np.asarray(picture)[:48, :64], atol=12)


@pytest.fixture
def has_encoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes an FFmpeg that lacks all encoders but some."""

    def has(*names: str) -> None:
        video_writer._encoder.cache_clear()
        monkeypatch.setattr(video_writer, "_is_there", lambda name: name in names)

    yield has
    video_writer._encoder.cache_clear()


def test_without_h264_a_video_is_mpeg4(tmp_path: Path, has_encoders: Callable[..., None], caplog: Any):
    has_encoders("mpeg4")
    path = tmp_path / "clip.mp4"
    write_video(path, (grey(level, (65, 49)) for level in range(20, 220, 20)), fps=25, options={"crf": "10"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    np.testing.assert_allclose(levels, range(20, 220, 20), atol=4)
    assert "this FFmpeg has no H.264 encoder" in caplog.text


def test_the_encoders_are_tried_in_order(has_encoders: Callable[..., None]):
    has_encoders("mpeg4", "libopenh264")
    assert video_writer._encoder() == "libopenh264"


def test_an_ffmpeg_without_encoders_is_named(tmp_path: Path, has_encoders: Callable[..., None]):
    has_encoders()
    with pytest.raises(ValueError, match=r"^this FFmpeg has no encoder of libx264, .*, mpeg4, so videos cannot be"):
        write_video(tmp_path / "clip.mp4", [grey(0)], fps=8)


def test_an_encoder_that_is_not_there_is_not_taken():
    assert video_writer._is_there("mpeg4") and not video_writer._is_there("no_such_encoder")
