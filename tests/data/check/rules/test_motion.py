import numpy as np
import pytest

from epam_data.check.rules import motion as module
from epam_data.check.rules.motion import MAX_LAG, SHIFT_FRAMES, Motion, motion_of, set_shift
from epam_data.schema import SampleInfo
from tests.data.raw_data import background, draw_dot, sample_info

PX = 64


def moving_clip(num_frames: int = 70, seed: int = 0, num_moving: int = 3) -> tuple[SampleInfo, np.ndarray, np.ndarray]:
    """A dot on each joint, of which a few move at changing speeds: info, keypoints and frames that belong together."""
    rng = np.random.default_rng(seed)
    info = sample_info(
        num_frames=num_frames, rgb_size_px=PX, image_size=(PX, PX), video_size=(PX, PX), box=(0, 0, PX, PX)
    )
    places = np.repeat(rng.uniform(8, PX - 8, (1, 17, 2)), num_frames, axis=0)
    time = np.arange(num_frames)[:, None]
    for joint in range(num_moving):
        turns = np.cumsum(rng.uniform(0, 0.35, num_frames))[:, None] + 0.02 * time
        reach = rng.uniform(8, 20)
        places[:, joint] = PX / 2 + reach * np.concatenate(
            [np.cos(turns), np.sin(turns * rng.uniform(0.7, 1.4))], axis=1
        )
    still = background((PX, PX), seed)
    frames = np.repeat(still[None], num_frames, axis=0)
    for image, points in zip(frames, places, strict=True):
        for x, y in points:
            draw_dot(image, x, y, radius=2)
    scores = np.ones((num_frames, 17, 1))
    return info, np.concatenate([places, scores], axis=-1)[None].astype(np.float32), frames


def shifted(keypoints: np.ndarray, frames: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Pose `lag` frames late: frame t goes with the joints of t - lag."""
    early, late = max(0, lag), max(0, -lag)
    num = len(frames)
    return keypoints[:, late : num - early], frames[early : num - late]


@pytest.mark.parametrize("seed", range(4))
def test_a_shift_of_three_frames_or_more_is_found_and_measured(seed: int):
    info, keypoints, frames = moving_clip(seed=seed)
    for lag in range(-6, 7):
        motion = motion_of(info, *shifted(keypoints, frames, lag))
        assert motion is not None and motion.moves
        assert abs(motion.lag - lag) <= 1
        assert motion.shifted == (abs(lag) >= SHIFT_FRAMES), (lag, motion)
        if motion.shifted:
            assert f"match best {motion.lag:+d} frames apart" in str(motion)
            assert motion.alarm.startswith(str(motion)) and "at most 1.3% of good clips" in motion.alarm


def test_a_clip_that_does_not_move_tells_nothing():
    info, keypoints, frames = moving_clip(num_moving=0)
    motion = motion_of(info, keypoints, frames)
    assert motion is not None and not motion.moves and not motion.shifted
    nobody = motion_of(info, keypoints * 0, frames)
    assert nobody is not None and not nobody.shifted


def test_foreign_motion_raises_no_alarm_of_its_own_pose():
    """Somebody else in the picture moves: the pose does not fit at any lag, which is no shift."""
    info, keypoints, _ = moving_clip(seed=1)
    for seed in range(2, 6):
        motion = motion_of(info, keypoints, moving_clip(seed=seed)[2])
        assert motion is not None and not motion.moves


def test_a_short_clip_has_no_motion():
    assert (MAX_LAG, SHIFT_FRAMES) == (8, 3)
    info, keypoints, frames = moving_clip(num_frames=24)
    assert motion_of(info, keypoints, frames) is not None
    assert motion_of(info, keypoints[:, 1:], frames[1:]) is None


def curve(lag: int, best: float, rest: float = 0.0) -> Motion:
    values = [rest] * (2 * MAX_LAG + 1)
    values[MAX_LAG + lag] = best
    return Motion(curve=tuple(values))


def test_a_shift_of_the_whole_set_is_found_though_no_clip_is_sure():
    unsure = [curve(3, best=0.35, rest=0.3)] * 12
    assert not any(motion.shifted for motion in unsure)
    finding = set_shift(unsure)
    assert (
        finding is not None and "over the 12 clips that move, RGB and pose match best +3 frames apart" in finding.what
    )
    assert set_shift(unsure[:9]) is None  # too few to say
    assert set_shift([curve(0, best=0.5)] * 12) is None
    assert set_shift([curve(3, best=0.1)] * 12) is None  # nothing moves


def test_the_margin_is_over_no_lag_and_over_one_frame_either_way():
    for near in (-1, 0, 1):
        values = list(curve(5, best=0.7).curve)
        values[MAX_LAG + near] = 0.6
        assert Motion(curve=tuple(values)).margin == pytest.approx(0.1)
    values[MAX_LAG - 2] = 0.69
    assert Motion(curve=tuple(values)).margin == pytest.approx(0.1)


def test_a_set_whose_mean_curve_is_flat_is_not_shifted():
    assert set_shift([curve(3, best=0.31, rest=0.3)] * 12) is None


def test_the_bounds_of_a_verdict():
    """What the rates at the top of the module were measured with."""
    assert curve(0, best=0.3).moves and not curve(0, best=0.299).moves
    for best, is_shifted in ((0.5, True), (0.499, False)):
        assert Motion(curve=curve(3, best=best, rest=0.42).curve).shifted == is_shifted
        assert not curve(2, best=best, rest=0.42).shifted
        assert curve(-3, best=best, rest=0.42).shifted == is_shifted
    assert curve(MAX_LAG, best=0.9).lag == 8 and curve(-MAX_LAG, best=0.9).lag == -8
    for margin, is_found in ((0.021, True), (0.019, False)):
        assert (set_shift([curve(-3, best=0.4 + margin, rest=0.4)] * 10) is not None) == is_found
    assert set_shift([curve(2, best=0.9)] * 10) is None


@pytest.mark.parametrize(("frame_px", "cells"), [(224, 28), (56, 28), (50, 25)])
def test_films_are_28_cells_wide_or_as_many_as_the_frames_can_fill(
    frame_px: int, cells: int, monkeypatch: pytest.MonkeyPatch
):
    sizes = []
    monkeypatch.setattr(module, "_correlation", lambda *films: sizes.append([film.shape for film in films]) or 0.0)
    info = sample_info(rgb_size_px=frame_px)
    frames = np.zeros((24, frame_px, frame_px, 3), np.uint8)
    assert motion_of(info, np.zeros((1, 24, 17, 3)), frames).curve == (0.0,) * 17
    assert sizes == [[(23 - abs(lag), cells, cells)] * 2 for lag in range(-8, 9)]


def films(info: SampleInfo, keypoints: np.ndarray, frames: np.ndarray, monkeypatch) -> tuple[np.ndarray, np.ndarray]:
    """What a clip's frames and joints are compared as, without the blur."""
    seen = []
    monkeypatch.setattr(module, "_correlation", lambda *pair: seen.append(pair) or 0.0)
    monkeypatch.setattr(module, "_ready", lambda film: film)
    motion_of(info, keypoints, frames)
    return seen[MAX_LAG]


def test_the_film_of_frames_is_the_change_of_green_in_each_cell(monkeypatch: pytest.MonkeyPatch):
    info = sample_info(rgb_size_px=58)  # 28 cells of 2 pixels; the last two pixels are left out
    frames = np.zeros((24, 58, 58, 3), np.uint8)
    frames[5, 6:8, 10:12, 1] = 200  # cell (row 3, column 5): the whole of it
    frames[9, 0, 55, 1] = 100
    frames[12, 20, 20] = (255, 0, 255)
    frames[15, 57, 57, 1] = 255
    film = films(info, np.zeros((1, 24, 17, 3)), frames, monkeypatch)[0]
    wanted = np.zeros((23, 28, 28))
    wanted[4:6, 3, 5] = 200
    wanted[8:10, 0, 27] = 25
    np.testing.assert_array_equal(film, wanted)


def test_the_film_of_joints_is_the_fastest_half_way_along_each_step(monkeypatch: pytest.MonkeyPatch):
    side = 56
    info = sample_info(rgb_size_px=side, heatmap_size_px=side, image_size=(side, side), video_size=(side, side),
                       box=(0, 0, side, side))  # fmt: skip
    keypoints = np.zeros((2, 24, 17, 3))
    keypoints[0, 3:6, 2] = (10.5, 20.5, 1), (12.5, 20.5, 1), (12.5, 26.5, 1)  # cells of 2 pixels
    keypoints[1, 3:5, 7] = (11.5, 19.5, 1), (11.5, 21.5, 1)  # slower than half of the first, in the same cell
    keypoints[1, 3:5, 8] = (11.5, 16.5, 1), (11.5, 24.5, 1)
    keypoints[0, 10:12, 3] = (-9, 4, 1), (-3, 4, 1)  # outside
    keypoints[0, 12:14, 4] = (55, 4, 1), (57, 4, 1)
    keypoints[0, 14:16, 5] = (-1, 4, 1), (1.5, 4, 1)  # just inside
    keypoints[0, 18, 3] = (9, 9, 1)  # alone
    film = films(info, keypoints, np.zeros((24, side, side, 3), np.uint8), monkeypatch)[1]
    wanted = np.zeros((23, 28, 28))
    wanted[3, 10, 5] = 4.0
    wanted[4, 11, 6] = 3.0
    wanted[14, 2, 0] = 1.25
    np.testing.assert_allclose(film, wanted)


def test_a_correlation_is_of_what_changes_in_time():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(9, 4, 4)).astype(np.float32)
    still = rng.normal(size=(1, 4, 4)).astype(np.float32) * 100
    assert module._correlation(one, 3 * one + still) == pytest.approx(1, abs=1e-4)
    assert module._correlation(one, -one) == pytest.approx(-1)
    assert module._correlation(one, np.repeat(still, 9, axis=0)) == pytest.approx(0, abs=1e-5)
    assert module._correlation(one, np.zeros_like(one)) == 0.0
