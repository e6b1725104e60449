import av
import numpy as np
import pytest
from PIL import Image

from epam_data.stream import BatchFinisher, Stream
from epam_data.stream.device import RGB_MEAN, RGB_STD
from epam_model.reports.overlay import attention_frames, first_inputs, input_picture, write_overlay
from tests.model.tiny import STREAM

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
    with pytest.raises(ValueError, match="must have the same length, got 10 and 9"):
        attention_frames(FRAMES, corner_attention()[:9])
    with pytest.raises(ValueError, match="overlay_kind must be one of picture, video, got 'gif'"):
        write_overlay(tmp_path / "clip", FRAMES, corner_attention(), kind="gif")


def test_a_model_input_is_shown_as_it_was_before_normalisation():
    frames = np.random.default_rng(0).integers(0, 256, (16, 24, 24, 3))
    rgb = ((frames - RGB_MEAN) / RGB_STD).transpose(3, 0, 1, 2).astype(np.float32)
    pose = np.zeros((17, 48, 6, 6), np.float32)
    pose[4, 3 * 6, 1, 1] = 1.0  # the frame that RGB frame 6 lies on: the fourth of those shown
    picture = input_picture(rgb, pose)
    assert picture.shape == (48, 8 * 24, 3) and picture.dtype == np.uint8
    for place in range(8):
        above, below = (picture[row : row + 24, place * 24 : place * 24 + 24] for row in (0, 24))
        assert (above == frames[2 * place]).all()
        red = below[4:7, 4:7].astype(int)
        assert ((red[..., 0] - red[..., 2]).mean() > 150) == (place == 3)


def test_the_first_clips_of_a_stream_are_shown_flipped_as_training_sees_them(shards):
    stream = Stream(shards, split="train", settings=STREAM, training=True, seed=1)
    finisher = BatchFinisher.for_shards(stream.manifest)
    pictures = first_inputs(stream, finisher, count=3)
    batch = stream.read_step(0, 0)
    assert list(pictures) == batch.keys[:3] and 0 < batch.flip[:3].sum() < 3
    for picture, frames, flip in zip(pictures.values(), batch.rgb, batch.flip, strict=False):
        frame = frames[0].numpy()
        assert picture.shape == (64, 64, 3) and (picture[:32, :32] == (frame[:, ::-1] if flip else frame)).all()
