import numpy as np
import pytest

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
    info, keypoints, frames = moving_clip(num_frames=3 * MAX_LAG - 1)
    assert motion_of(info, keypoints, frames) is None


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
