"""What is drawn for a sample: its frames and its flip. Workers draw; the device applies (`device.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epam_data.randomness import Purpose, generator
from epam_data.stream.sampling import every_nth, test_frames, uniform_frames

SAMPLINGS = ("aligned", "independent")


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How clips are cut from samples and put into batches."""

    batch_size: int = 16
    """Clips per global batch: over all ranks together."""
    rgb_frames: int = 16
    """RGB frames per clip."""
    pose_frames: int = 48
    """Heatmap frames per clip."""
    sampling: str = "aligned"
    """`aligned`: RGB takes every (pose_frames / rgb_frames)-th heatmap frame; `independent`: drawn apart."""
    flip: float = 0.5
    """Probability of the mirror image (with left and right joints swapped) in training."""
    window_shards: int = 16
    """Shards whose samples are shuffled together."""
    workers: int = 2
    """Loader processes per rank; 0 loads in the training process."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "rgb_frames", "pose_frames", "window_shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"stream.{name} must be >= 1, got {getattr(self, name)}")
        if self.workers < 0:
            raise ValueError(f"stream.workers must be >= 0, got {self.workers}")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"stream.sampling must be one of {', '.join(SAMPLINGS)}, got {self.sampling!r}")
        if self.sampling == "aligned" and self.pose_frames % self.rgb_frames:
            raise ValueError(
                "stream.pose_frames must be a multiple of rgb_frames for aligned sampling, "
                f"got {self.pose_frames} and {self.rgb_frames}"
            )
        if not 0 <= self.flip <= 1:
            raise ValueError(f"stream.flip must be in 0..1, got {self.flip}")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What was drawn for one sample."""

    rgb_frames: NDArray[np.int64]  # (T,) frame numbers
    pose_frames: NDArray[np.int64]  # (T',) frame numbers
    flip: bool


def draw_training(num_frames: int, settings: StreamSettings, *, seed: int, epoch: int, position: int) -> Draw:
    """The draw of the sample at `position` of `epoch`: the same on any rank and worker, and after any resume."""
    rng = generator(Purpose.AUGMENTATION, seed, epoch, position)
    pose = uniform_frames(num_frames, settings.pose_frames, rng)
    if settings.sampling == "aligned":
        rgb = every_nth(pose, settings.rgb_frames)
    else:
        rgb = uniform_frames(num_frames, settings.rgb_frames, rng)
    return Draw(rgb_frames=rgb, pose_frames=pose, flip=bool(rng.random() < settings.flip))


def draw_evaluation(num_frames: int, settings: StreamSettings) -> Draw:
    """The repeatable draw for evaluation; never flipped."""
    pose = test_frames(num_frames, settings.pose_frames)[0]
    if settings.sampling == "aligned":
        rgb = every_nth(pose, settings.rgb_frames)
    else:
        rgb = test_frames(num_frames, settings.rgb_frames)[0]
    return Draw(rgb_frames=rgb, pose_frames=pose, flip=False)
