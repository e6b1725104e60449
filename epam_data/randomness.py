"""Random draws of builds, streams and training are keyed: by what they are for, then by seed, epoch and position.

Never by worker, rank or time. So the same sample gets the same draw on any machine and after any resume, and no two
purposes share a generator. The purpose stands first and is never 0: NumPy pads keys with zeros, so that (7, 3) and
(7, 3, 0) are one key; keys of one purpose have one length.

Four others are not made here, and stay as they are, since their outcomes are on record: the figures of `synth` (by seed
and clip), the clips that `check` looks at in depth, its shuffled tables and the clips of its report (each by the seed
alone). First weights are torch's, by the seed; the published test frames are NumPy's `RandomState(255)`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a generator is for."""

    SHARD_ASSIGNMENT = 1  # of clips at build time; (seed, split)
    SHARD_ORDER = 2  # of an epoch; (seed, epoch)
    WINDOW_ORDER = 3  # of the samples of a window; (seed, epoch, window)
    AUGMENTATION = 4  # of a sample; (seed, epoch, position)
    LABEL_SHUFFLE = 5  # of the control; (seed)
    TRAINING_STEP = 6  # dropout, the same on all ranks; (seed, step)
    SELECTION = 7  # of the clips of a limited build; (seed)
    ESTIMATE = 8  # of the clips that a dry run measures; (seed)
    CLASS_START = 9  # of balanced epochs: the sample of each class that comes first; (seed)
    STAND_IN = 10  # for a damaged sample; (seed, epoch, position)
    SHUFFLE_BUFFER = 11  # of a sequential stream; (seed, epoch, reader)


def generator(purpose: Purpose, *key: int) -> np.random.Generator:
    """The generator of one draw."""
    return np.random.default_rng((int(purpose), *key))


def seed_number(purpose: Purpose, *key: int) -> int:
    """A 64-bit seed for another library's generator."""
    return int(np.random.SeedSequence((int(purpose), *key)).generate_state(1, np.uint64)[0])
