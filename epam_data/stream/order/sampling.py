"""The frames of a recording that a clip uses (as MMAction2's `UniformSampleFrames`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TEST_SEED = 255
"""Seed of the repeatable draws at test time, as published."""


def uniform_frames(num_frames: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one frame from each of `length` equal segments, for training.

    Args:
        num_frames: n, frames of the recording.
        length: L, frames to draw.
        rng: the generator of this sample and epoch.

    Returns:
        (L,) frame numbers. n < L: consecutive from a random start, modulo n. L <= n < 2L: n - L of the L + 1 gaps are
        one frame wide. n >= 2L: one uniform draw from each of the L segments.
    """
    if num_frames < length:
        return np.asarray((rng.integers(num_frames) + np.arange(length)) % num_frames)
    if num_frames < 2 * length:
        return _with_gaps(length, rng.choice(length + 1, num_frames - length, replace=False))
    edges = np.arange(length + 1) * num_frames // length
    return np.asarray(rng.integers(edges[:-1], edges[1:]))


def test_frames(num_frames: int, length: int, num_clips: int = 1) -> NDArray[np.int64]:
    """The repeatable frames of `num_clips` clips, for evaluation; a pure function.

    The generator is NumPy's legacy RandomState(255), seeded again for each modality, because published results depend
    on its exact numbers. For n < L nothing is drawn: clip i starts at i, or at i * n // num_clips.

    Returns:
        (num_clips, L) frame numbers.
    """
    rng = np.random.RandomState(TEST_SEED)
    clips = []
    for clip in range(num_clips):
        if num_frames < length:
            start = clip if num_frames < num_clips else clip * num_frames // num_clips
            clips.append((start + np.arange(length)) % num_frames)
        elif num_frames < 2 * length:
            clips.append(_with_gaps(length, rng.choice(length + 1, num_frames - length, replace=False)))
        else:
            edges = np.arange(length + 1) * num_frames // length
            clips.append(edges[:-1] + rng.randint(np.diff(edges)))
    return np.stack(clips)


def even_frames(num_frames: int, length: int) -> NDArray[np.int64]:
    """Frames at even steps from the first to the last: i * (n - 1) // (L - 1), (L,). Frames repeat where n < L."""
    return np.arange(length) * (num_frames - 1) // max(length - 1, 1)


def every_nth(pose_frames: NDArray[np.int64], rgb_length: int) -> NDArray[np.int64]:
    """The RGB frames of aligned sampling: every (L_pose // L_rgb)-th pose frame, as published for EPAM.

    Args:
        pose_frames: (..., L_pose).
        rgb_length: L_rgb, a divisor of L_pose.
    """
    return pose_frames[..., :: pose_frames.shape[-1] // rgb_length]


def _with_gaps(length: int, gaps: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 ... L - 1, where each chosen gap shifts all later frames by one."""
    shift = np.zeros(length + 1, np.int64)
    shift[gaps] = 1
    return np.arange(length) + np.cumsum(shift)[:-1]
