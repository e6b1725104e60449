"""Random draws of builds, streams and training are keyed by purpose, then by seed, epoch and position.

They never depend on worker, rank or time, so a sample gets the same draw on any machine and after any resume, and no
two purposes share a generator. The purpose comes first and is never 0. All keys of one purpose have the same length:
NumPy pads keys with zeros, so (7, 3) and (7, 3, 0) are the same key.

Four generators are created elsewhere and stay as they are, because results depend on them: the figures of `synth`
(keyed by seed and clip), and the clips that `check` checks in depth, its shuffled tables and the clips of its report
(each keyed by the seed). Initial weights come from torch and the seed; the published test frames use NumPy's
`RandomState(255)`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of a generator."""

    SHARD_ASSIGNMENT = 1  # of clips at build time; (seed, split)
    SHARD_ORDER = 2  # of an epoch; (seed, epoch)
    WINDOW_ORDER = 3  # of the samples of a window; (seed, epoch, window)
    AUGMENTATION = 4  # of a sample; (seed, epoch, position)
    LABEL_SHUFFLE = 5  # of the control; (seed)
    TRAINING_STEP = 6  # dropout, the same on all ranks; (seed, step)
    SELECTION = 7  # of the clips of a limited build; (seed)
    ESTIMATE = 8  # of the clips that a dry run measures; (seed)
    CLASS_START = 9  # first sample of each class in balanced epochs; (seed)
    STAND_IN = 10  # for a damaged sample; (seed, epoch, position)
    SHUFFLE_BUFFER = 11  # of a sequential stream; (seed, epoch, reader)
    FOLDS = 12  # of a view; (seed)
    FRACTION = 13  # of the training clips of a class in a view; (seed, label + 1)


def generator(purpose: Purpose, *key: int) -> np.random.Generator:
    """The generator of one draw."""
    return np.random.default_rng((int(purpose), *key))


def seed_number(purpose: Purpose, *key: int) -> int:
    """A 64-bit seed for another library's generator."""
    return int(np.random.SeedSequence((int(purpose), *key)).generate_state(1, np.uint64)[0])
