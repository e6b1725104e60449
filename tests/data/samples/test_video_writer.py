from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from epam_data.samples.video_writer import write_h264


def grey(level: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def test_every_picture_is_a_frame_in_order(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    write_h264(path, (grey(level) for level in range(20, 220, 20)), fps=25, options={"crf": "10"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    np.testing.assert_allclose(levels, range(20, 220, 20), atol=3)


def test_options_reach_the_encoder(tmp_path: Path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    for crf in ("5", "45"):
        write_h264(tmp_path / f"{crf}.mp4", [noise] * 3, fps=10, options={"crf": crf})
    assert (tmp_path / "5.mp4").stat().st_size > 2 * (tmp_path / "45.mp4").stat().st_size


def test_odd_sizes_lose_a_row_and_a_column(tmp_path: Path):
    write_h264(tmp_path / "odd.avi", [grey(90, (65, 33))] * 2, fps=8)
    with av.open(str(tmp_path / "odd.avi")) as container:
        assert {(frame.width, frame.height) for frame in container.decode(video=0)} == {(64, 32)}


def test_what_cannot_be_written_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"clip\.words: cannot be written as a video \(.*\); an \.mp4 can$"):
        write_h264(tmp_path / "clip.words", [grey(0)], fps=8)
    with pytest.raises(ValueError, match=r"clip\.mp4: no picture to write$"):
        write_h264(tmp_path / "clip.mp4", [], fps=8)
    with pytest.raises(OSError, match=r"none/clip\.mp4"):
        write_h264(tmp_path / "none" / "clip.mp4", [grey(0)], fps=8)
