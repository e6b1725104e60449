"""The tree loss: scores a class together with its coarse group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TreeLoss(nn.Module):
    """Cross-entropy over the states of a two-level tree, as PCAN uses it.

    The states are each coarse group alone, and each class with its group; with q = sigmoid(logits), their energies are
    q_c and q_c(k) + q_k. The loss is the mean of logsumexp(energies) - (q_c(y) + q_y). Chen et al., "Label Relation
    Graphs Enhanced Hierarchical Residual Network", CVPR 2022; the published code loops over samples and states, in
    float64. Computed in float32 or wider, whatever the dtype of the logits.

    Args:
        coarse_of: coarse label of each of the K classes.
    """

    coarse_of: Tensor

    def __init__(self, coarse_of: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("coarse_of", torch.tensor(coarse_of), persistent=False)
        self.sizes = len(coarse_of), max(coarse_of) + 1  # numbers: to read the tensor would wait for the GPU

    def forward(self, logits: Tensor, coarse_logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            logits: (B, K) float.
            coarse_logits: (B, Kc) float.
            labels: (B,) int64, fine.

        Raises:
            ValueError: the logits do not fit the taxonomy.
        """
        num_classes, num_groups = self.sizes
        if logits.shape[1] != num_classes or coarse_logits.shape[1] != num_groups:
            raise ValueError(
                f"logits must be (B, {num_classes}) and (B, {num_groups}) for this taxonomy, "
                f"got {tuple(logits.shape)} and {tuple(coarse_logits.shape)}"
            )
        fine, coarse = (
            torch.sigmoid(scores.to(torch.promote_types(scores.dtype, torch.float32)))
            for scores in (logits, coarse_logits)
        )
        pairs = fine + coarse[:, self.coarse_of]  # (B, K)
        at_label = pairs.gather(1, labels[:, None])[:, 0]
        return (torch.cat((coarse, pairs), dim=1).logsumexp(dim=1) - at_label).mean()
