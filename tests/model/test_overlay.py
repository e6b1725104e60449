import av
import numpy as np
import pytest
from PIL import Image

from epam_model.overlay import attention_frames, write_overlay

FRAMES = np.full((10, 32, 32, 3), 100, np.uint8)


def corner_attention() -> np.ndarray:
    attention = np.full((10, 4, 4), 0.2, np.float32)
    attention[:, 0, 0] = 0.4
    return attention


def test_the_colour_lies_where_attention_is_highest():
    shown = attention_frames(FRAMES, corner_attention())
    assert shown.shape == FRAMES.shape and shown.dtype == np.uint8
    assert shown[0, 2, 2, 0] > 180 and shown[0, 2, 2, 2] < 60  # red
    assert (shown[0, 20:, 20:] == 100).all()  # the lowest attention leaves the frame as it is
    assert (attention_frames(FRAMES, np.full((10, 4, 4), 0.5)) == FRAMES).all()


def test_a_picture_has_all_frames(tmp_path):
    path = write_overlay(tmp_path / "clip", FRAMES, corner_attention())
    assert path.name == "clip.png"
    assert Image.open(path).size == (8 * 32, 2 * 32)


def test_a_video_has_all_frames(tmp_path):
    path = write_overlay(tmp_path / "clip", FRAMES, corner_attention(), kind="video")
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 10 and frames[0].shape == (32, 32, 3)
    assert frames[0][2, 2, 0] > frames[0][28, 28, 0] + 50


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="must be of one length, got 10 and 9"):
        attention_frames(FRAMES, corner_attention()[:9])
    with pytest.raises(ValueError, match="overlay_kind must be one of picture, video, got 'gif'"):
        write_overlay(tmp_path / "clip", FRAMES, corner_attention(), kind="gif")
