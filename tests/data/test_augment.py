"""What is drawn for a sample: a function of (seed, epoch, position), aligned or independent."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epam_data.stream.augment import Draw, StreamSettings, draw_evaluation, draw_training
from epam_data.stream.sampling import test_frames as repeatable_frames

ALIGNED = StreamSettings(rgb_frames=4, pose_frames=12)
INDEPENDENT = StreamSettings(rgb_frames=4, pose_frames=12, sampling="independent")


def same(one: Draw, other: Draw) -> bool:
    return (
        np.array_equal(one.rgb_frames, other.rgb_frames)
        and np.array_equal(one.pose_frames, other.pose_frames)
        and one.flip == other.flip
    )


@settings(deadline=None)
@given(
    num_frames=st.integers(1, 200),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 500),
    position=st.integers(0, 10**9),
)
def test_a_draw_is_a_function_of_its_arguments(num_frames: int, seed: int, epoch: int, position: int) -> None:
    for chosen in (ALIGNED, INDEPENDENT):
        one = draw_training(num_frames, chosen, seed=seed, epoch=epoch, position=position)
        assert same(one, draw_training(num_frames, chosen, seed=seed, epoch=epoch, position=position))
        assert one.rgb_frames.shape == (4,) and one.pose_frames.shape == (12,)
        assert type(one.flip) is bool


def test_each_of_seed_epoch_and_position_matters() -> None:
    def draws(**key: int) -> np.ndarray:
        return draw_training(100, INDEPENDENT, **{"seed": 1, "epoch": 1, "position": 1, **key}).pose_frames

    for name in ("seed", "epoch", "position"):
        assert not np.array_equal(draws(), draws(**{name: 2}))


def test_aligned_rgb_frames_are_every_nth_pose_frame() -> None:
    for position in range(20):
        draw = draw_training(70, ALIGNED, seed=0, epoch=0, position=position)
        np.testing.assert_array_equal(draw.rgb_frames, draw.pose_frames[::3])
    draw = draw_evaluation(70, ALIGNED)
    np.testing.assert_array_equal(draw.rgb_frames, draw.pose_frames[::3])


def test_independent_frames_are_drawn_apart() -> None:
    draws = [draw_training(70, INDEPENDENT, seed=0, epoch=0, position=position) for position in range(20)]
    assert any(not set(draw.rgb_frames.tolist()) <= set(draw.pose_frames.tolist()) for draw in draws)


def test_pose_frames_do_not_depend_on_the_kind_of_sampling() -> None:
    one = draw_training(70, ALIGNED, seed=0, epoch=0, position=5)
    other = draw_training(70, INDEPENDENT, seed=0, epoch=0, position=5)
    np.testing.assert_array_equal(one.pose_frames, other.pose_frames)


@pytest.mark.parametrize("num_frames", [3, 9, 15, 103])
def test_evaluation_is_the_published_test_mode(num_frames: int) -> None:
    """Each modality with its own length and a freshly seeded generator."""
    draw = draw_evaluation(num_frames, INDEPENDENT)
    np.testing.assert_array_equal(draw.pose_frames, repeatable_frames(num_frames, 12)[0])
    np.testing.assert_array_equal(draw.rgb_frames, repeatable_frames(num_frames, 4)[0])
    assert draw.flip is False
    assert same(draw, draw_evaluation(num_frames, INDEPENDENT))


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_flips_come_with_their_probability(probability: float) -> None:
    chosen = StreamSettings(rgb_frames=4, pose_frames=12, flip=probability)
    flips = [draw_training(30, chosen, seed=0, epoch=0, position=p).flip for p in range(1000)]
    assert np.mean(flips) == pytest.approx(probability, abs=0.08 if 0 < probability < 1 else 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "stream.batch_size must be >= 1, got 0"),
        ({"rgb_frames": 0}, "stream.rgb_frames must be >= 1, got 0"),
        ({"pose_frames": -1}, "stream.pose_frames must be >= 1, got -1"),
        ({"window_shards": 0}, "stream.window_shards must be >= 1, got 0"),
        ({"workers": -1}, "stream.workers must be >= 0, got -1"),
        ({"sampling": "random"}, "stream.sampling must be one of aligned, independent, got 'random'"),
        (
            {"rgb_frames": 10, "pose_frames": 48},
            "stream.pose_frames must be a multiple of rgb_frames for aligned sampling, got 48 and 10",
        ),
        ({"flip": 1.5}, "stream.flip must be in 0..1, got 1.5"),
    ],
)
def test_settings_check_themselves(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        StreamSettings(**changes)


def test_independent_lengths_need_not_divide() -> None:
    assert StreamSettings(rgb_frames=10, pose_frames=48, sampling="independent").pose_frames == 48


def test_the_published_lengths_are_the_defaults() -> None:
    assert (StreamSettings().rgb_frames, StreamSettings().pose_frames, StreamSettings().flip) == (16, 48, 0.5)
