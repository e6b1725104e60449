"""The recipe section `train.loss`."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Factors of the loss terms. Those of coarse groups and prototypes matter for a head of PCAN's alone."""

    rgb: float = 1.0
    """Of the RGB stream's cross-entropy."""
    pose: float = 1.0
    """Of the pose stream's cross-entropy."""
    rgb_coarse: float = 1.0
    """Of the RGB stream's cross-entropy over coarse groups."""
    pose_coarse: float = 1.0
    """Of the pose stream's cross-entropy over coarse groups."""
    coarse_prototype: float = 0.2
    """Of each stream's refinement by coarse prototypes."""
    fine_prototype: float = 0.2
    """Of each stream's refinement by fine prototypes."""
    diversity: float = 0.2
    """Of the similarity of each stream's fine prototypes among each other."""
    tree: float = 1.0
    """Of each stream's tree loss."""
    label_smoothing: float = 0.0
    """Share of the target that each cross-entropy of a stream spreads evenly over all classes."""

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self) if each.name != "label_smoothing"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"train.loss.{name} must be >= 0, got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"train.loss.label_smoothing must be in 0..1 without 1, got {self.label_smoothing}")
