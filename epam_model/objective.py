"""Logits + labels -> named, weighted loss terms; the loss is their sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.heads import Logits
from epam_model.losses.prototype import CoarsePrototypeLoss, FinePrototypeLoss
from epam_model.losses.tree import TreeLoss


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Losses:
    """The terms of a batch, and what the prototypes become once the step is taken."""

    terms: dict[str, Tensor]  # scalars, weighted
    prototypes: dict[str, Tensor] = field(default_factory=dict)  # by name of the bank, without gradients

    @property
    def total(self) -> Tensor:
        """The loss, a scalar: the sum of the terms."""
        return torch.stack(tuple(self.terms.values())).sum()


class Objective(nn.Module):
    """The loss of a recipe: cross-entropies, and for heads with coarse groups PCAN's prototype and tree losses.

    Total of a stream: w CE(fine) + w' CE(coarse) + coarse FR / 5 + (fine FR + diversity) / 5 + tree, by default.

    Args:
        settings: factors of the terms.
        coarse_of: coarse label of each class.
        published_behaviour: see `losses.prototype`.
    """

    def __init__(self, settings: LossSettings, coarse_of: Sequence[int], *, published_behaviour: bool = False) -> None:
        super().__init__()
        self.settings = settings
        self.coarse_prototype = CoarsePrototypeLoss(published_behaviour=published_behaviour)
        self.fine_prototype = FinePrototypeLoss(coarse_of, published_behaviour=published_behaviour)
        self.tree = TreeLoss(coarse_of)

    def forward(self, logits: Logits, labels: Tensor, prototypes: Mapping[str, Tensor]) -> Losses:
        """The terms of a batch.

        Args:
            logits: of B clips and K classes.
            labels: (B,) int64 in 0 ... K - 1; a hidden label has no loss, so the caller keeps such clips out.
            prototypes: those of the model's banks, by name.

        Returns:
            `loss_rgb`, `loss_rgb_coarse`, `loss_rgb_coarse_prototype`, `loss_rgb_fine_prototype`, `loss_rgb_diversity`,
            `loss_rgb_tree` and the same for `pose`: means over the batch times their factors. A stream without logits
            has no term, a head without coarse groups the first alone.

        Raises:
            ValueError: labels are not (B,), or shapes do not fit the taxonomy.
        """
        losses = Losses(terms={})
        for stream, scores in logits.streams.items():
            if labels.shape != scores.shape[:1]:
                raise ValueError(f"labels must be ({len(scores)},), got {tuple(labels.shape)}")
            losses.terms[f"loss_{stream}"] = self._factor(stream) * self._cross_entropy(scores, labels)
            if stream in logits.coarse_streams:
                self._add_coarse(losses, stream, logits, labels, prototypes)
        return losses

    def _add_coarse(
        self, losses: Losses, stream: str, logits: Logits, labels: Tensor, prototypes: Mapping[str, Tensor]
    ) -> None:
        """Add the terms that need coarse groups, and the updated prototypes."""
        settings, name = self.settings, f"loss_{stream}"
        fine, coarse = logits.streams[stream], logits.coarse_streams[stream]
        coarse_labels = self.tree.coarse_of[labels]
        fine_bank, coarse_bank = f"{stream}_fine", f"{stream}_coarse"
        of_groups = self.coarse_prototype(
            logits.embeddings[coarse_bank], coarse, coarse_labels, prototypes[coarse_bank]
        )
        of_classes = self.fine_prototype(logits.embeddings[fine_bank], fine, coarse, labels, prototypes[fine_bank])
        losses.terms.update(
            {
                f"{name}_coarse": self._factor(f"{stream}_coarse") * self._cross_entropy(coarse, coarse_labels),
                f"{name}_coarse_prototype": settings.coarse_prototype * of_groups.loss,
                f"{name}_fine_prototype": settings.fine_prototype * of_classes.loss,
                f"{name}_diversity": settings.diversity * of_classes.diversity,
                f"{name}_tree": settings.tree * self.tree(fine, coarse, labels),
            }
        )
        losses.prototypes[coarse_bank] = of_groups.prototypes.detach()
        losses.prototypes[fine_bank] = of_classes.prototypes.detach()

    def _factor(self, name: str) -> float:
        factor: float = getattr(self.settings, name)
        return factor

    def _cross_entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return functional.cross_entropy(scores, labels, label_smoothing=self.settings.label_smoothing)
