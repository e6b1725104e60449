"""Frame sampling against its published definition."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epam_data.stream.order.sampling import TEST_SEED, even_frames, every_nth, test_frames, uniform_frames

test_frames.__test__ = False  # type: ignore[attr-defined]  # a function of the package, no test

LENGTHS = st.sampled_from([1, 2, 8, 16, 32, 48])
FRAMES = st.integers(1, 300)


def published_test_frames(num_frames: int, length: int, num_clips: int) -> list[list[int]]:
    """The definition, clip by clip and frame by frame."""
    generator = np.random.RandomState(255)
    clips = []
    for clip in range(num_clips):
        if num_frames < length:
            start = clip if num_frames < num_clips else clip * num_frames // num_clips
            frames = [start + offset for offset in range(length)]
        elif num_frames < 2 * length:
            gaps = set(generator.choice(length + 1, num_frames - length, replace=False).tolist())
            frames, shift = [], 0
            for place in range(length):
                shift += place in gaps
                frames.append(place + shift)
        else:
            edges = [segment * num_frames // length for segment in range(length + 1)]
            sizes = [edges[segment + 1] - edges[segment] for segment in range(length)]
            offsets = generator.randint(sizes).tolist()
            frames = [edge + offset for edge, offset in zip(edges[:-1], offsets, strict=True)]
        clips.append([frame % num_frames for frame in frames])
    return clips


@given(num_frames=FRAMES, length=LENGTHS, num_clips=st.integers(1, 10))
@example(num_frames=3, length=8, num_clips=5)
@example(num_frames=5, length=8, num_clips=5)
@example(num_frames=7, length=8, num_clips=3)
@example(num_frames=8, length=8, num_clips=3)
@example(num_frames=16, length=8, num_clips=3)
def test_the_repeatable_frames_equal_the_definition(num_frames: int, length: int, num_clips: int) -> None:
    frames = test_frames(num_frames, length, num_clips)
    assert frames.shape == (num_clips, length) and TEST_SEED == 255
    assert frames.tolist() == published_test_frames(num_frames, length, num_clips)


@pytest.mark.parametrize("num_frames", [5, 20, 31, 32, 103])
def test_the_repeatable_frames_are_repeatable(num_frames: int) -> None:
    np.random.seed(3)
    before = test_frames(num_frames, 16, 2)
    np.random.random(7)
    np.testing.assert_array_equal(test_frames(num_frames, 16, 2), before)
    np.testing.assert_array_equal(test_frames(num_frames, 16), before[:1], "one clip, which does not know the others")


@pytest.mark.parametrize(
    ("num_frames", "frames"),
    [
        (5, [3, 4, 0, 1, 2, 3, 4, 0]),
        (11, [1, 2, 3, 4, 6, 7, 9, 10]),
        (15, [1, 2, 4, 6, 8, 10, 12, 14]),
        (40, [3, 9, 10, 19, 22, 27, 33, 36]),
    ],
)
def test_training_frames_stay_what_they_were(num_frames: int, frames: list[int]) -> None:
    """A run that is resumed after an upgrade must see the same frames."""
    assert uniform_frames(num_frames, 8, np.random.default_rng(5)).tolist() == frames


def check_training(frames: np.ndarray, num_frames: int, length: int) -> None:
    assert frames.shape == (length,) and np.issubdtype(frames.dtype, np.integer)
    assert frames.min() >= 0 and frames.max() < num_frames
    if num_frames < length:
        assert frames.tolist() == [(int(frames[0]) + i) % num_frames for i in range(length)]
    elif num_frames < 2 * length:
        steps = np.diff([-1, *frames.tolist(), num_frames])
        assert set(steps.tolist()) <= {1, 2}
        assert (steps == 2).sum() == num_frames - length, "the chosen gaps of the L + 1"
    else:
        for segment, frame in enumerate(frames.tolist()):
            assert segment * num_frames // length <= frame < (segment + 1) * num_frames // length


@given(num_frames=FRAMES, length=LENGTHS, seed=st.integers(0, 2**32))
def test_training_frames_fit_their_definition(num_frames: int, length: int, seed: int) -> None:
    check_training(uniform_frames(num_frames, length, np.random.default_rng(seed)), num_frames, length)


@given(num_frames=st.integers(1, 300), length=LENGTHS)
def test_repeatable_frames_fit_it_too(num_frames: int, length: int) -> None:
    check_training(test_frames(num_frames, length)[0], num_frames, length)


@pytest.mark.parametrize(("num_frames", "length"), [(5, 8), (10, 8), (40, 8)])
def test_every_admissible_draw_happens(num_frames: int, length: int) -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([uniform_frames(num_frames, length, rng) for _ in range(3000)])
    for place in range(length):
        values, counts = np.unique(draws[:, place], return_counts=True)
        if num_frames < length:
            assert values.tolist() == list(range(num_frames))
        elif num_frames >= 2 * length:
            first = place * num_frames // length
            assert values.tolist() == list(range(first, (place + 1) * num_frames // length))
        else:
            gaps = num_frames - length  # so many of the place + 1 gaps before, and of the length - place behind
            least, most = max(0, gaps - (length - place)), min(gaps, place + 1)
            assert values.tolist() == list(range(place + least, place + most + 1))
        if not length <= num_frames < 2 * length:  # uniform within five standard deviations
            expected = 3000 / len(values)
            assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("length", [8, 16])
def test_exactly_l_frames_are_all_frames(length: int) -> None:
    for frames in (uniform_frames(length, length, np.random.default_rng(0)), test_frames(length, length)[0]):
        assert frames.tolist() == list(range(length))


def test_every_nth() -> None:
    assert every_nth(np.arange(48), 16).tolist() == list(range(0, 48, 3))
    assert every_nth(np.arange(8).reshape(2, 4), 2).tolist() == [[0, 2], [4, 6]]


@given(num_frames=FRAMES, length=LENGTHS)
def test_even_frames_go_from_the_first_to_the_last_in_even_steps(num_frames: int, length: int) -> None:
    frames = even_frames(num_frames, length)
    assert frames.shape == (length,) and frames[0] == 0
    assert length == 1 or frames[-1] == num_frames - 1
    steps = np.diff(frames)
    assert length < 3 or steps.max() - steps.min() <= 1
    exact = np.linspace(0, num_frames - 1, length)
    assert (frames <= exact + 1e-9).all() and (frames > exact - 1).all()
