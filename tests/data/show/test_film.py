from pathlib import Path

import av
import numpy as np
import pytest

from epam_data.show.film import write_film
from epam_data.show.picture import overlay
from tests.data.raw_data import make_sample


def test_the_film_shows_every_frame(tmp_path: Path):
    sample = make_sample()
    path = tmp_path / "clip.mp4"
    write_film(sample, path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == sample.info.num_frames
    for number, frame in enumerate(frames):
        shown = np.asarray(overlay(sample, number)).astype(int)
        assert frame.shape == shown.shape
        assert np.abs(frame - shown).mean() < 12  # H.264 stores colour at half size


def test_a_caption_is_below_every_frame(tmp_path: Path):
    sample = make_sample()
    write_film(sample, tmp_path / "clip.mp4", caption=["98.00%  squat", "1.00%  bow"])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height = overlay(sample, 0).height
    assert len(frames) == sample.info.num_frames and frames[0].shape[0] > height + 30
    for number, frame in enumerate(frames):
        assert np.abs(frame[:height].astype(int) - np.asarray(overlay(sample, number))).mean() < 12
        below = frame[height + 4 :]
        assert below.max() > 180 and np.median(below) < 20, "white words on black"


def test_odd_sizes_lose_a_pixel(tmp_path: Path):
    write_film(make_sample(rgb_size_px=201), tmp_path / "odd.mp4")
    with av.open(str(tmp_path / "odd.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (602, 200)


def test_an_unknown_ending_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"clip\.words: cannot be written as a video"):
        write_film(make_sample(), tmp_path / "clip.words")
