"""Joint layouts: names, flip pairs and limbs of each known skeleton."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MISSING_SCORE = 1e-4
"""A joint with a lower score is missing (the threshold of MMAction2's heatmap generator)."""


@dataclass(frozen=True, kw_only=True)
class SkeletonLayout:
    """The joints of one skeleton, in storage order."""

    name: str
    joints: tuple[str, ...]  # V names
    flip_pairs: tuple[tuple[int, int], ...]  # joints that swap sides in a mirror
    limbs: tuple[tuple[int, int], ...]  # (start, end) joints of each drawn segment

    def __post_init__(self) -> None:
        paired = [joint for pair in self.flip_pairs for joint in pair]
        used = paired + [joint for limb in self.limbs for joint in limb]
        if len(set(paired)) != len(paired) or not set(used) <= set(range(len(self.joints))):
            raise ValueError(f"{self.name}: flip pairs must be disjoint and joints in 0..{len(self.joints) - 1}")
        for pair in (*self.flip_pairs, *self.limbs):
            if len(pair) != 2:
                raise ValueError(f"{self.name}: a flip pair or a limb must be two joints, got {pair}")
        mirror, limbs = self.flip_order, set(map(frozenset, self.limbs))
        for a, b in self.limbs:
            if frozenset((mirror[a], mirror[b])) not in limbs:
                raise ValueError(
                    f"{self.name}: limb ({a}, {b}) needs its mirror image ({mirror[a]}, {mirror[b]}) among the limbs"
                )

    @property
    def flip_order(self) -> tuple[int, ...]:
        """For each joint, the joint whose channel it takes in the mirror image; an involution."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)

    def channels(self, heatmap_kind: str) -> tuple[tuple[int, int], ...]:
        """The (start, end) joints of each heatmap channel: a limb if the kind is "limbs", else the same joint twice."""
        return self.limbs if heatmap_kind == "limbs" else tuple((joint, joint) for joint in range(len(self.joints)))

    def num_channels(self, heatmap_kind: str) -> int:
        """Channels of a heatmap."""
        return len(self.channels(heatmap_kind))

    @property
    def limb_flip_order(self) -> tuple[int, ...]:
        """The same for limb channels: limb (a, b) swaps with the limb of the mirrored joints."""
        mirror = self.flip_order
        index_of = {frozenset(limb): index for index, limb in enumerate(self.limbs)}
        return tuple(index_of[frozenset((mirror[a], mirror[b]))] for a, b in self.limbs)


_COCO_SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

COCO17 = SkeletonLayout(
    name="coco17",
    joints=("nose", *(f"{side}_{part}" for part in _COCO_SIDED for side in ("left", "right"))),
    flip_pairs=tuple((left, left + 1) for left in range(1, 17, 2)),
    limbs=(
        *((0, 1), (0, 2), (1, 3), (2, 4)),  # head
        *((0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10)),  # arms
        *((5, 11), (11, 13), (13, 15), (6, 12), (12, 14), (14, 16), (11, 12)),  # trunk and legs
    ),
)

_FINGERS = ("thumb", "index", "middle", "ring", "little")

# The published recipe's flip omits the fingertips (18-22 with 23-27), which puts the left hand's fingers on the right
# wrist of a mirrored clip. They are paired here.
MA52_28 = SkeletonLayout(
    name="ma52_28",
    joints=(
        *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
        *("left_shoulder", "left_elbow", "left_wrist"),
        *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
        *(f"left_{finger}_tip" for finger in _FINGERS),
        *(f"right_{finger}_tip" for finger in _FINGERS),
    ),
    flip_pairs=(
        *((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)),
        *((left, left + 5) for left in range(18, 23)),
    ),
    limbs=(
        *(
            (4, 3),
            (3, 2),
            (7, 6),
            (6, 5),
            (13, 12),
            (12, 11),
            (10, 9),
            (9, 8),
            (11, 5),
            (8, 2),
            (5, 1),
            (2, 1),
        ),
        *((0, 1), (15, 0), (14, 0), (17, 15), (16, 14)),  # head
        *((tip, 4) for tip in range(23, 28)),
        *((tip, 7) for tip in range(18, 23)),
    ),
)

LAYOUTS = {layout.name: layout for layout in (COCO17, MA52_28)}


def joint_is_missing(keypoints: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which joints are missing: low or non-finite score, a non-finite coordinate, or both coordinates 0.

    Args:
        keypoints: (..., V, 2) x, y in any unit whose origin is the image corner.
        scores: (..., V).

    Returns:
        (..., V) bool.
    """
    # In float64, since the threshold rounded to the scores' dtype would depend on it. Not `<`, so that a NaN score
    # counts as missing.
    missing: NDArray[np.bool_] = ~(scores.astype(np.float64) >= MISSING_SCORE) | np.isinf(scores)
    missing = missing | ~np.isfinite(keypoints).all(axis=-1) | (keypoints == 0).all(axis=-1)
    return missing


def posture(keypoints: NDArray[np.floating]) -> Literal["stands", "lies"] | None:
    """Whether people are taller than wide, or wider than tall, most of the time; None: there are too few joints.

    Standing people lie in a picture that lies on its side, or whose x and y are exchanged.

    Args:
        keypoints: (M, T, V, 2) x and y; joints that are not finite or at (0, 0) are missing.
    """
    found = np.isfinite(keypoints).all(-1) & keypoints.any(-1)  # (M, T, V)
    enough = found.sum(-1) >= 3
    if not enough.any():
        return None
    low = np.where(found[..., None], keypoints, np.inf).astype(np.float64).min(2)[enough]
    high = np.where(found[..., None], keypoints, -np.inf).astype(np.float64).max(2)[enough]
    width, height = (high - low).T
    return "lies" if np.median(width - height) > 0 else "stands"
