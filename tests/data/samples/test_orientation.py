"""A skeleton goes with its video where the shapes explain how, and is refused where they do not."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from epam_data.samples.orientation import VideoShape, fit_to_video
from epam_data.schema import Clip


def clip_in(height: int, width: int, points: Any = None, dtype: Any = np.float32, **changes: Any) -> Clip:
    """A clip whose three joints are given, else spread over its picture."""
    spread = [[width * 0.1, height * 0.1], [width * 0.9, height * 0.5], [width * 0.5, height * 0.9]]
    keypoints = np.array(spread if points is None else points, dtype)[None, None]
    values = {"key": "a", "name": "a", "split": "train", "label": 0, "image_size": (height, width)}
    return Clip(**{**values, "keypoints": keypoints, "scores": np.ones(keypoints.shape[:3], dtype), **changes})


@pytest.mark.parametrize(
    ("image", "video"),
    [
        ((1080, 1920), (1080, 1920)),
        ((1080, 1920), (240, 426)),  # 426.67
        ((256, 455), (1080, 1920)),
        ((256, 340), (240, 320)),  # 341.33
        ((1088, 1920), (1080, 1920)),  # padded to 16
        ((240, 320), (480, 640)),
        ((1296, 1080), (1296, 1080)),
        ((4, 7), (1080, 1920)),  # 7.1
        ((256, 256), (256, 256)),
    ],
)
def test_pictures_of_one_aspect_ratio_are_left_as_they_are(image: tuple[int, int], video: tuple[int, int]):
    clip = clip_in(*image)
    assert fit_to_video(clip, VideoShape(video)) == (clip, None)
    assert fit_to_video(clip, VideoShape(video, turns=1)) == (clip, None)


def test_pixels_that_are_not_square_may_be_stretched_as_a_player_does():
    """576 lines of 720 pixels are shown as 768 x 576."""
    for width in (720, 768):
        clip = clip_in(576, width)
        note = "the video's pixels are 1.07 times as wide as high, and its frames are stored as they are"
        assert fit_to_video(clip, VideoShape((576, 720), pixel_aspect=16 / 15)) == (clip, note)
    nearly = VideoShape((576, 720), pixel_aspect=1.02)
    assert fit_to_video(clip_in(576, 720), nearly)[1] is None
    with pytest.raises(ValueError, match="does not fit the video"):
        fit_to_video(clip_in(576, 768), VideoShape((576, 720)))


@pytest.mark.parametrize(
    ("image", "video"),
    [((256, 256), (240, 426)), ((1080, 1920), (240, 320)), ((480, 640), (1080, 1920)), ((1920, 1080), (240, 320))],
)
def test_another_aspect_ratio_is_refused_with_both_shapes(image: tuple[int, int], video: tuple[int, int]):
    message = f"a: img_shape (H, W) = {image} does not fit the video, which is {video}; "
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        fit_to_video(clip_in(*image), VideoShape(video))


def test_height_and_width_are_exchanged_back():
    wrong = replace(clip_in(240, 426), image_size=(426, 240))
    clip, note = fit_to_video(wrong, VideoShape((240, 426)))
    assert clip.image_size == (240, 426) and clip.keypoints is wrong.keypoints
    assert note == "img_shape (426, 240) has height and width exchanged, taken as (240, 426)"


def test_points_that_lie_outside_of_the_exchanged_picture_are_refused():
    """They were found in a picture that stands, and the video lies."""
    with pytest.raises(
        ValueError, match=r"img_shape \(H, W\) = \(426, 240\) does not fit the video, which is \(240, 426\)"
    ):
        fit_to_video(clip_in(426, 240), VideoShape((240, 426)))


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_skeleton_of_the_stored_frames_is_turned_with_them(turns: int, scale: int, dtype: Any):
    stored = np.zeros((6 * scale, 10 * scale), int)
    places = [(9 * scale, 1 * scale), (2 * scale, 5 * scale), (0, 3 * scale)]
    for number, (x, y) in enumerate(places, 1):
        stored[y, x] = number
    lying = clip_in(6 * scale, 10 * scale, places, dtype)
    clip, note = fit_to_video(lying, VideoShape((10, 6), turns))
    upright = np.rot90(stored, turns)
    found = [tuple(np.argwhere(upright == number)[0][::-1]) for number in (1, 2, 3)]
    assert clip.keypoints[0, 0].tolist() == [list(map(float, place)) for place in found]
    assert clip.image_size == upright.shape and clip.keypoints.dtype == dtype
    assert note is not None and note.startswith(
        f"img_shape {(6 * scale, 10 * scale)} is that of the stored frames of a"
    )


@pytest.mark.parametrize("turns", [1, 3])
def test_where_the_joints_fit_both_the_people_tell(turns: int):
    """In the upper part of a phone's video: the points fit into the stored frames, too."""
    standing = [[30, 5], [25, 30], [35, 55]]
    upright = replace(clip_in(100, 60, standing), image_size=(60, 100))
    clip, note = fit_to_video(upright, VideoShape((100, 60), turns))
    assert clip.keypoints is upright.keypoints and clip.image_size == (100, 60)
    assert note is not None and "exchanged" in note
    lying = clip_in(60, 100, [[y, x] for x, y in standing])
    clip, note = fit_to_video(lying, VideoShape((100, 60), turns))
    assert note is not None and "the skeleton was turned" in note and clip.image_size == (100, 60)


def test_missing_joints_are_not_turned():
    lying = clip_in(60, 100, [[0, 0], [20, 30], [np.nan, 5]])
    clip, _ = fit_to_video(lying, VideoShape((100, 60), 1))
    assert clip.keypoints[0, 0, 0].tolist() == [0, 0] and np.isnan(clip.keypoints[0, 0, 2, 0])
    assert clip.keypoints[0, 0, 1].tolist() == [30, 79]


def test_a_turned_video_may_have_an_exchanged_shape_too():
    """The points tell: they do not fit into the stored frames."""
    wrong = replace(clip_in(100, 60), image_size=(60, 100))
    clip, note = fit_to_video(wrong, VideoShape((100, 60), 1))
    assert clip.image_size == (100, 60) and note is not None and "exchanged" in note


def test_a_clip_without_people_is_left_to_others():
    nobody = clip_in(60, 100, np.zeros((3, 2)))
    clip, note = fit_to_video(replace(nobody, image_size=(100, 60)), VideoShape((60, 100)))
    assert clip.image_size == (60, 100) and note is not None
