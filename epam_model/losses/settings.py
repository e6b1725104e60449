"""The recipe section `train.loss`."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Factors of the loss terms. Those of coarse groups and prototypes apply only to the head `pcan`."""

    rgb: float = 1.0
    """Cross-entropy of the RGB stream."""
    pose: float = 1.0
    """Cross-entropy of the pose stream."""
    rgb_coarse: float = 1.0
    """Cross-entropy of the RGB stream over coarse groups."""
    pose_coarse: float = 1.0
    """Cross-entropy of the pose stream over coarse groups."""
    coarse_prototype: float = 0.2
    """Refinement of each stream by coarse prototypes."""
    fine_prototype: float = 0.2
    """Refinement of each stream by fine prototypes."""
    diversity: float = 0.2
    """Similarity between the fine prototypes of each stream."""
    tree: float = 1.0
    """Tree loss of each stream."""
    label_smoothing: float = 0.0
    """Share of the target that each stream's cross-entropy spreads evenly over all classes."""

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self) if each.name != "label_smoothing"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"train.loss.{name} must be >= 0, got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"train.loss.label_smoothing must be in 0..1 without 1, got {self.label_smoothing}")
