"""Check that motion in the frames matches motion of the joints: a clip's best lag between RGB and pose.

Two low-resolution films are compared: the differences of neighbouring frames, and the speeds of the joints at their
positions. Their correlation over all pixels and frames is computed for each lag between the two. If it is highest at 3
frames or more, and clearly higher than without a lag, frames and skeleton do not belong together.

Measured by `python -m benchmarks.motion` (benchmarks/results/motion.json and motion_windows.json), on clips that move
enough to judge: no false alarm on 240 synthetic clips at 224 pixels, nor on the 172 of them that move enough at 64,
which bounds the rate for such clips at 1.3 % with 95 % confidence; none on 29 pieces (complete, and overlapping windows
of 45 frames) of five real recordings. Those are few, but the largest margin of any good clip is 0.03, and an alarm
needs 0.08. A shift of 3 frames is found in 80 to 90 % of the synthetic clips and in half of the real pieces, 4 frames
in 98 % and 70 %, 5 frames in all and in 90 %. The mean curve of a set is more reliable than a single clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from epam_data.check.reference import heatmap_points
from epam_data.check.rules.finding import Finding
from epam_data.schema import SampleInfo

MAX_LAG = 8
"""Lags that are tried: -8 ... 8 frames."""

SHIFT_FRAMES = 3
"""A best lag of at least this many frames is a shift."""

MAX_FALSE_ALARMS = 0.013
"""Upper 95 % bound of the share of good clips reported as shifted: none of 240 was."""

_CELLS = 28  # height and width of the films
_BLUR = 1.5  # cells: the edge of a limb moves slightly beside its joints
_MIN_CORRELATION = 0.3  # of a clip that moves enough to judge
_MIN_FRAMES = 3 * MAX_LAG
_CLIP_MARGIN, _SET_MARGIN = 0.08, 0.02
_MIN_CLIPS = 10  # to judge the set


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How well RGB and pose move together, at each lag."""

    curve: tuple[float, ...]  # (2 MAX_LAG + 1,) correlations; the middle one is without a lag

    @property
    def lag(self) -> int:
        """Frames by which the pose is later than the RGB, at the best match."""
        return int(np.argmax(self.curve)) - MAX_LAG

    @property
    def moves(self) -> bool:
        """Whether the clip moves enough to judge."""
        return max(self.curve) >= _MIN_CORRELATION

    @property
    def margin(self) -> float:
        """How much better the best lag is than none (or one frame)."""
        return max(self.curve) - max(self.curve[MAX_LAG - 1 : MAX_LAG + 2])

    @property
    def shifted(self) -> bool:
        """Whether frames and skeleton are 3 frames or more apart."""
        return self.moves and abs(self.lag) >= SHIFT_FRAMES and self.margin >= _CLIP_MARGIN

    @property
    def alarm(self) -> str:
        """The message about a shifted clip, with the rate of false alarms (see the top of this file)."""
        return f"{self} (false alarms: at most {MAX_FALSE_ALARMS:.1%} of good clips that move, with 95 % confidence)"

    def __str__(self) -> str:
        return (
            f"RGB and pose match best {self.lag:+d} frames apart: correlation {max(self.curve):.2f}, "
            f"without a lag {self.curve[MAX_LAG]:.2f}"
        )


def motion_of(info: SampleInfo, keypoints: NDArray[np.floating], frames: NDArray[np.uint8]) -> Motion | None:
    """The motion of one clip; None if it is too short to try all lags.

    Args:
        info: geometry.
        keypoints: (M, T, V, 3), see `Sample`.
        frames: (T, S, S, 3) uint8 RGB.
    """
    if len(frames) < _MIN_FRAMES:
        return None
    cells = min(_CELLS, info.rgb_size_px // 2)
    seen, posed = _frame_film(frames, cells), _pose_film(info, keypoints, cells)
    curve = []
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        early, late = max(0, -lag), max(0, lag)
        curve.append(_correlation(seen[early : len(seen) - late], posed[late : len(posed) - early]))
    return Motion(curve=tuple(curve))


def set_shift(motions: Sequence[Motion]) -> Finding | None:
    """A shift of the whole set, by the mean curve of the clips that move, which is more reliable than one clip."""
    moving = [motion.curve for motion in motions if motion.moves]
    if len(moving) < _MIN_CLIPS:
        return None
    mean = Motion(curve=tuple(np.mean(moving, axis=0).tolist()))
    if abs(mean.lag) < SHIFT_FRAMES or mean.margin < _SET_MARGIN:
        return None
    return Finding(check="alignment", what=f"over the {len(moving)} clips that move, {mean}")


def _frame_film(frames: NDArray[np.uint8], cells: int) -> NDArray[np.float32]:
    """Differences of neighbouring frames, as the mean of each cell: (T - 1, cells, cells)."""
    green = frames[..., 1].astype(np.int16)  # most of the luminance
    block = green.shape[1] // cells
    difference = np.abs(np.diff(green, axis=0))[:, : block * cells, : block * cells].astype(np.float32)
    film = difference.reshape(-1, cells, block, cells, block).mean(axis=(2, 4))
    return _ready(film)


def _pose_film(info: SampleInfo, keypoints: NDArray[np.floating], cells: int) -> NDArray[np.float32]:
    """The speed of each joint in the cell at the middle of its step; the maximum if joints share a cell."""
    u, v, _, visible = heatmap_points(info, keypoints, use_scores=False)
    points = np.stack([u, v], axis=-1) * (cells / info.heatmap_size_px)
    stays = visible[:, 1:] & visible[:, :-1]
    steps = points[:, 1:] - points[:, :-1]
    speed = np.linalg.norm(np.where(stays[..., None], steps, 0), axis=-1).astype(np.float32)
    middle = np.where(stays[..., None], (points[:, 1:] + points[:, :-1]) / 2, -1)
    column, row = (np.floor(np.clip(middle[..., axis], -1, cells)).astype(int) for axis in (0, 1))
    persons, frames, joints = np.nonzero(stays & (np.minimum(column, row) >= 0) & (np.maximum(column, row) < cells))
    which = persons, frames, joints
    film = np.zeros((stays.shape[1], cells, cells), np.float32)
    np.maximum.at(film, (frames, row[which], column[which]), speed[which])
    return _ready(film)


def _ready(film: NDArray[np.float32]) -> NDArray[np.float32]:
    blurred: NDArray[np.float32] = gaussian_filter(film, (0, _BLUR, _BLUR))
    return blurred


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of changes over time: without subtracting each cell's mean, a person's position would correlate."""
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    norm = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float((one * other).sum()) / norm if norm > 0 else 0.0
