"""Dropout that does not depend on how many ranks share a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from epam_model.ranks.distributed import num_ranks, own_rank


class RanksDropout(nn.Dropout):
    """Dropout of (B, ...): draws the mask of the global batch, and uses the rows of this rank.

    Row b of rank r is row b * world + r of the global batch, as in the stream. The generators of all ranks must be in
    the same state: the trainer seeds them equally before each step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drops elements of (B, ...), float, in training."""
        world = num_ranks()
        if not self.training or self.p == 0 or world == 1:
            return super().forward(x)
        rows = super().forward(torch.ones(len(x) * world, *x.shape[1:], dtype=x.dtype, device=x.device))
        return x * rows[own_rank() :: world]
