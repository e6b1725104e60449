"""Logits + labels -> named, weighted loss terms; the loss is their sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.losses.prototype import CoarsePrototypeLoss, FinePrototypeLoss
from epam_model.losses.settings import LossSettings
from epam_model.losses.tree import TreeLoss
from epam_model.networks.heads import Logits


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
