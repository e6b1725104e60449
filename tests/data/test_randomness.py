import itertools

import numpy as np
import pytest

from epam_data.randomness import Purpose, generator, seed_number

KEY_LENGTHS = {
    Purpose.SHARD_ASSIGNMENT: 2,
    Purpose.SHARD_ORDER: 2,
    Purpose.WINDOW_ORDER: 3,
    Purpose.AUGMENTATION: 3,
    Purpose.LABEL_SHUFFLE: 1,
    Purpose.TRAINING_STEP: 3,
    Purpose.SELECTION: 1,
    Purpose.ESTIMATE: 1,
    Purpose.CLASS_START: 1,
    Purpose.STAND_IN: 3,
    Purpose.SHUFFLE_BUFFER: 3,
    Purpose.FOLDS: 1,
    Purpose.FRACTION: 2,
}


def test_no_two_draws_share_a_generator():
    """Small keys, zeros among them, of every purpose: all streams of numbers differ."""
    assert set(KEY_LENGTHS) == set(Purpose)
    streams = {
        (purpose, key): tuple(generator(purpose, *key).integers(1 << 62, size=2).tolist())
        for purpose, length in KEY_LENGTHS.items()
        for key in itertools.product(range(4), repeat=length)
    }
    assert len(set(streams.values())) == len(streams)
    seeds = {seed_number(purpose, *key) for purpose, key in streams}
    assert len(seeds) == len(streams)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_gives_the_same_numbers_again(purpose: Purpose):
    a, b = (generator(purpose, 7, 3).random(4) for _ in range(2))
    np.testing.assert_array_equal(a, b)
