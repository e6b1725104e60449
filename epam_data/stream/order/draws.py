"""Random draws for a sample: frames, flip, crop and colours. Workers draw; the device applies them (`device.py`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epam_data.randomness import Purpose, generator
from epam_data.stream.order.sampling import even_frames, every_nth, test_frames, uniform_frames
from epam_data.stream.settings import StreamSettings

Crop = tuple[float, float, float, float]
"""(x1, y1, x2, y2) of a box as fractions of the stored frame, so that it applies to frames and keypoints alike."""

WHOLE: Crop = (0.0, 0.0, 1.0, 1.0)

_LOG_ASPECTS = (math.log(3 / 4), math.log(4 / 3))
_CROP_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The random draws for one clip."""

    rgb_frames: NDArray[np.int64]  # (T,) frame numbers
    pose_frames: NDArray[np.int64]  # (T',) frame numbers
    flip: bool
    crop: Crop = WHOLE
    brightness: float = 1.0
    contrast: float = 1.0


def draw_training(num_frames: int, settings: StreamSettings, *, seed: int, epoch: int, position: int) -> Draw:
    """The draw for the sample at `position` of `epoch`; the same on any rank and worker and after any resume."""
    rng = generator(Purpose.AUGMENTATION, seed, epoch, position)
    if settings.sampling == "linspace":
        rgb, pose = _even(num_frames, settings)
    else:
        pose = uniform_frames(num_frames, settings.pose_frames, rng)
        if settings.sampling == "aligned":
            rgb = every_nth(pose, settings.rgb_frames)
        else:
            rgb = uniform_frames(num_frames, settings.rgb_frames, rng)
    # Draw every number, used or not, so that switching one augmentation on or off does not change the others.
    flip, brightness, contrast = rng.random(), rng.uniform(-1, 1), rng.uniform(-1, 1)
    crop = random_resized_crop(settings.crop_area, rng)
    return Draw(
        rgb_frames=rgb,
        pose_frames=pose,
        flip=bool(flip < settings.flip),
        crop={"none": WHOLE, "random_resized": crop, "centre": centre_crop(settings)}[settings.train_crop],
        brightness=1 + settings.brightness * brightness,
        contrast=1 + settings.contrast * contrast,
    )


def draw_evaluation(num_frames: int, settings: StreamSettings) -> list[Draw]:
    """The repeatable draws for evaluating a sample, one per clip; no flip, colours unchanged."""
    if settings.sampling == "linspace":
        rgb, pose = (frames[None] for frames in _even(num_frames, settings))
    else:
        pose = test_frames(num_frames, settings.pose_frames, settings.num_clips)
        if settings.sampling == "aligned":
            rgb = every_nth(pose, settings.rgb_frames)
        else:
            rgb = test_frames(num_frames, settings.rgb_frames, settings.num_clips)
    crop = WHOLE if settings.eval_crop == "none" else centre_crop(settings)
    return [Draw(rgb_frames=r, pose_frames=p, flip=False, crop=crop) for r, p in zip(rgb, pose, strict=True)]


def random_resized_crop(area: tuple[float, float], rng: np.random.Generator) -> Crop:
    """A box of random area, aspect and position ("inception-style", as RandomResizedCrop in torchvision and MMAction2).

    Area and position are uniform; the logarithm of width / height is uniform between those of 3/4 and 4/3. If a box
    does not fit, another is drawn; after ten attempts the full frame is used.

    Args:
        area: smallest and largest share of the frame.
        rng: the generator of this sample and epoch.
    """
    for _ in range(_CROP_ATTEMPTS):
        share, aspect = rng.uniform(*area), math.exp(rng.uniform(*_LOG_ASPECTS))
        width, height = math.sqrt(share * aspect), math.sqrt(share / aspect)
        if width <= 1 and height <= 1:
            x, y = rng.random() * (1 - width), rng.random() * (1 - height)
            return x, y, x + width, y + height
    return WHOLE


def centre_crop(settings: StreamSettings) -> Crop:
    """The central box of crop_px in a frame resized to resize_px."""
    margin = (1 - settings.crop_px / settings.resize_px) / 2
    return margin, margin, 1 - margin, 1 - margin


def _even(num_frames: int, settings: StreamSettings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return even_frames(num_frames, settings.rgb_frames), even_frames(num_frames, settings.pose_frames)
