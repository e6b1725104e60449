"""The losses of PCAN's head: cross-entropies of classes and groups, prototype losses and the tree loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from epam_model.losses.cross_entropy import weighted_cross_entropy
from epam_model.losses.prototype import CoarsePrototypeLoss, FinePrototypeLoss
from epam_model.losses.settings import LossSettings
from epam_model.losses.tree import TreeLoss
from epam_model.networks.heads import Logits, PrototypeBank


class PCANLosses(nn.Module):
    """The loss terms of PCAN, which also update the prototypes.

    Total of a stream: w CE(fine) + w' CE(coarse) + coarse FR / 5 + (fine FR + diversity) / 5 + tree, by default. Each
    forward pass computes new prototypes, which the next pass uses; the model gets them at `end_step`.

    Args:
        settings: factors of the terms.
        coarse_of: coarse label of each class.
        banks: the model's prototypes, by name (`prototype_banks`); they belong to the model and are saved with it.
        published_behaviour: see `losses.prototype`.

    Raises:
        ValueError: the model has no prototypes.
    """

    def __init__(
        self,
        settings: LossSettings,
        coarse_of: Sequence[int],
        banks: Mapping[str, PrototypeBank],
        *,
        published_behaviour: bool = False,
    ) -> None:
        super().__init__()
        if not banks:
            raise ValueError("PCAN's losses need a model with prototypes (model.head pcan), this one has none")
        self.settings = settings
        self.coarse_prototype = CoarsePrototypeLoss(published_behaviour=published_behaviour)
        self.fine_prototype = FinePrototypeLoss(coarse_of, published_behaviour=published_behaviour)
        self.tree = TreeLoss(coarse_of)
        self._banks = dict(banks)  # a plain dict, so that the banks do not become submodules of this module
        self._moved: dict[str, Tensor] = {}  # prototypes by name of the bank, after the last forward pass

    def forward(self, logits: Logits, labels: Tensor) -> dict[str, Tensor]:
        """The loss terms of a batch, or of a part of a batch.

        Args:
            logits: of B clips, K classes and Kc groups.
            labels: (B,) int64 in 0 ... K - 1.

        Returns:
            `loss_rgb`, `loss_rgb_coarse`, `loss_rgb_coarse_prototype`, `loss_rgb_fine_prototype`, `loss_rgb_diversity`,
            `loss_rgb_tree` and the same for `pose`, for the streams that exist: scalars, means over the batch times
            their factors.

        Raises:
            ValueError: labels are not (B,), or shapes do not fit the taxonomy.
        """
        terms: dict[str, Tensor] = {}
        for stream in logits.streams:
            terms |= self._of_stream(stream, logits, labels)
        return terms

    def end_step(self, taken: bool) -> None:
        """Put the new prototypes into the model if the step was taken, else drop them."""
        if taken:
            for name, prototypes in self._moved.items():
                self._banks[name].remember(prototypes)
        self._moved.clear()

    def _of_stream(self, stream: str, logits: Logits, labels: Tensor) -> dict[str, Tensor]:
        settings, name = self.settings, f"loss_{stream}"
        fine, coarse = logits.streams[stream], logits.coarse_streams[stream]
        # First, since it checks the shape of the labels.
        of_labels = weighted_cross_entropy(settings, stream, fine, labels)
        coarse_labels = self.tree.coarse_of[labels]
        fine_bank, coarse_bank = f"{stream}_fine", f"{stream}_coarse"
        of_groups = self.coarse_prototype(
            logits.embeddings[coarse_bank], coarse, coarse_labels, self._prototypes(coarse_bank)
        )
        of_classes = self.fine_prototype(
            logits.embeddings[fine_bank], fine, coarse, labels, self._prototypes(fine_bank)
        )
        self._moved[coarse_bank] = of_groups.prototypes.detach()
        self._moved[fine_bank] = of_classes.prototypes.detach()
        return {
            name: of_labels,
            f"{name}_coarse": weighted_cross_entropy(settings, f"{stream}_coarse", coarse, coarse_labels),
            f"{name}_coarse_prototype": settings.coarse_prototype * of_groups.loss,
            f"{name}_fine_prototype": settings.fine_prototype * of_classes.loss,
            f"{name}_diversity": settings.diversity * of_classes.diversity,
            f"{name}_tree": settings.tree * self.tree(fine, coarse, labels),
        }

    def _prototypes(self, bank: str) -> Tensor:
        # A copy: `end_step` may come before the backward pass, which needs the old values.
        return self._moved.get(bank, self._banks[bank].prototypes.clone())
