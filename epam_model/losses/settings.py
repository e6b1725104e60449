"""The recipe section `train.loss`."""

from __future__ import annotations

from dataclasses import dataclass

from epam_data.system.checked_fields import BelowOne, Factor, check_fields


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Factors of the loss terms. Those of coarse groups and prototypes apply only to the head `pcan`."""

    rgb: Factor = 1.0
    """Cross-entropy of the RGB stream."""
    pose: Factor = 1.0
    """Cross-entropy of the pose stream."""
    rgb_coarse: Factor = 1.0
    """Cross-entropy of the RGB stream over coarse groups."""
    pose_coarse: Factor = 1.0
    """Cross-entropy of the pose stream over coarse groups."""
    coarse_prototype: Factor = 0.2
    """Refinement of each stream by coarse prototypes."""
    fine_prototype: Factor = 0.2
    """Refinement of each stream by fine prototypes."""
    diversity: Factor = 0.2
    """Similarity between the fine prototypes of each stream."""
    tree: Factor = 1.0
    """Tree loss of each stream."""
    label_smoothing: BelowOne = 0.0
    """Share of the target that each stream's cross-entropy spreads evenly over all classes."""

    def __post_init__(self) -> None:
        check_fields(self, "train.loss")
