"""What is drawn for a sample: a function of (seed, epoch, position), aligned or independent."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epam_data.stream import StreamSettings
from epam_data.stream.order.draws import WHOLE, Draw, draw_evaluation, draw_training, random_resized_crop
from epam_data.stream.order.sampling import test_frames as repeatable_frames

ALIGNED = StreamSettings(rgb_frames=4, pose_frames=12)
INDEPENDENT = StreamSettings(rgb_frames=4, pose_frames=12, sampling="independent")


def same(one: Draw, other: Draw) -> bool:
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


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


def test_a_draw_stays_what_it_was() -> None:
    """A run that is resumed after an upgrade must see the same frames, flips, crops and colours."""
    chosen = StreamSettings(
        rgb_frames=2, pose_frames=4, heatmap="drawn", train_crop="random_resized", brightness=0.4, contrast=0.2
    )
    draw = draw_training(30, chosen, seed=7, epoch=1, position=12)
    assert (draw.rgb_frames.tolist(), draw.pose_frames.tolist(), draw.flip) == ([4, 20], [4, 11, 20, 27], True)
    assert draw.crop == pytest.approx((0.172244885, 0.064143667, 0.875208486, 0.877461879), abs=1e-9)
    assert (draw.brightness, draw.contrast) == pytest.approx((0.675169797, 0.993488974), abs=1e-9)
    assert draw_training(30, StreamSettings(), seed=7, epoch=1, position=12).crop == (0.0, 0.0, 1.0, 1.0)


def test_aligned_rgb_frames_are_every_nth_pose_frame() -> None:
    for position in range(20):
        draw = draw_training(70, ALIGNED, seed=0, epoch=0, position=position)
        np.testing.assert_array_equal(draw.rgb_frames, draw.pose_frames[::3])
    (draw,) = draw_evaluation(70, ALIGNED)
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
    (draw,) = draw_evaluation(num_frames, INDEPENDENT)
    np.testing.assert_array_equal(draw.pose_frames, repeatable_frames(num_frames, 12)[0])
    np.testing.assert_array_equal(draw.rgb_frames, repeatable_frames(num_frames, 4)[0])
    assert draw.flip is False
    assert same(draw, draw_evaluation(num_frames, INDEPENDENT)[0])


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_flips_come_with_their_probability(probability: float) -> None:
    chosen = StreamSettings(rgb_frames=4, pose_frames=12, flip=probability)
    flips = [draw_training(30, chosen, seed=0, epoch=0, position=p).flip for p in range(1000)]
    assert np.mean(flips) == pytest.approx(probability, abs=0.08 if 0 < probability < 1 else 0)


@pytest.mark.parametrize("num_clips", [1, 3, 10])
@pytest.mark.parametrize("chosen", [ALIGNED, INDEPENDENT])
def test_several_clips_are_the_published_ones(chosen: StreamSettings, num_clips: int) -> None:
    draws = draw_evaluation(103, replace(chosen, num_clips=num_clips))
    pose = repeatable_frames(103, 12, num_clips)
    rgb = pose[:, ::3] if chosen is ALIGNED else repeatable_frames(103, 4, num_clips)
    assert len(draws) == num_clips
    np.testing.assert_array_equal([draw.pose_frames for draw in draws], pose)
    np.testing.assert_array_equal([draw.rgb_frames for draw in draws], rgb)


def test_even_spacing_draws_nothing() -> None:
    chosen = StreamSettings(rgb_frames=4, pose_frames=10, sampling="linspace")
    (evaluated,) = draw_evaluation(31, chosen)
    for draw in (evaluated, *(draw_training(31, chosen, seed=0, epoch=0, position=p) for p in range(3))):
        assert draw.rgb_frames.tolist() == [0, 10, 20, 30]
        assert draw.pose_frames.tolist() == [0, 3, 6, 10, 13, 16, 20, 23, 26, 30]


# Crops and colours

CROPPED = StreamSettings(heatmap="drawn", train_crop="random_resized", brightness=0.2, contrast=0.1)


def many_draws(chosen: StreamSettings, count: int = 2000) -> list[Draw]:
    return [draw_training(60, chosen, seed=0, epoch=0, position=position) for position in range(count)]


def test_random_crops_fill_their_range() -> None:
    x1, y1, x2, y2 = np.array([draw.crop for draw in many_draws(CROPPED)]).T
    width, height = x2 - x1, y2 - y1
    assert min(x1.min(), y1.min()) >= 0 and max(x2.max(), y2.max()) <= 1
    area, aspect = width * height, width / height
    assert 0.56 <= area.min() < 0.58 and area.max() <= 1 + 1e-12 and area.max() > 0.97
    assert 0.75 <= aspect.min() < 0.78 and 1.28 < aspect.max() <= 4 / 3 + 1e-12
    assert abs(np.log(aspect).mean()) < 0.01, "wide and tall boxes alike"
    for start, extent in ((x1, width), (y1, height)):
        place = start[extent < 0.99] / (1 - extent[extent < 0.99])
        assert abs(place.mean() - 0.5) < 0.03 and abs(place.std() - 12**-0.5) < 0.02, "the place is uniform"


def test_a_crop_of_the_whole_picture_is_the_whole_picture() -> None:
    """No box of aspect 3/4 fits with all of the area; the draw ends all the same."""
    rng = np.random.default_rng(0)
    crops = np.array([random_resized_crop((1.0, 1.0), rng) for _ in range(50)])
    np.testing.assert_array_equal(crops, np.tile(WHOLE, (50, 1)))


def test_colour_factors_fill_their_range() -> None:
    draws = many_draws(CROPPED)
    for name, most in (("brightness", 0.2), ("contrast", 0.1)):
        factors = np.array([getattr(draw, name) for draw in draws])
        assert 1 - most <= factors.min() < 1 - 0.98 * most and 1 + 0.98 * most < factors.max() <= 1 + most
        assert abs(factors.mean() - 1) < 0.1 * most


def test_one_augmentation_leaves_the_draws_of_the_others() -> None:
    """Switched off one after the other; what is left of the draws is what it was."""
    off = {"flip": 0.0, "train_crop": "none", "brightness": 0.0, "contrast": 0.0}
    changed = {"flip": False, "train_crop": WHOLE, "brightness": 1.0, "contrast": 1.0}
    fields = {"train_crop": "crop"}
    for draw, position in zip(many_draws(CROPPED, 20), range(20), strict=True):
        for name, value in off.items():
            other = draw_training(60, replace(CROPPED, **{name: value}), seed=0, epoch=0, position=position)
            assert same(other, replace(draw, **{fields.get(name, name): changed[name]}))


def test_a_centre_crop_is_the_middle_of_the_resized_picture() -> None:
    """224 of 256: 16 pixels are cut off on each side."""
    chosen = replace(CROPPED, train_crop="centre", eval_crop="centre")
    assert draw_training(60, chosen, seed=0, epoch=0, position=0).crop == (1 / 16, 1 / 16, 15 / 16, 15 / 16)
    (draw,) = draw_evaluation(60, chosen)
    assert draw.crop == (1 / 16, 1 / 16, 15 / 16, 15 / 16)


def test_evaluation_has_neither_random_crops_nor_colours() -> None:
    (draw,) = draw_evaluation(60, replace(CROPPED, flip=1.0))
    assert (draw.flip, draw.crop, draw.brightness, draw.contrast) == (False, WHOLE, 1.0, 1.0)
