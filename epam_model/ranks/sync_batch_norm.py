"""Batch norms over the clips of all ranks, also on the CPU, for which torch has none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from epam_model.ranks.distributed import Ranks, num_ranks, own_rank, sum_over_ranks


def synchronise_batch_norms(model: nn.Module, ranks: Ranks) -> nn.Module:
    """The model with batch norms that use the statistics of all ranks in training; weights keep their names.

    On GPUs these are torch's `SyncBatchNorm`, on the CPU `RanksBatchNorm`.
    """
    if ranks.world == 1:
        return model
    if ranks.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call, no-any-return]
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, RanksBatchNorm.of(child))
    return model


class RanksBatchNorm(nn.BatchNorm3d):
    """A batch norm that uses mean and variance over the clips of all ranks in training; for (N, C, ...) of any ndim."""

    @classmethod
    def of(cls, norm: _BatchNorm) -> RanksBatchNorm:
        """A replacement for another batch norm, with its weights, statistics and mode."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        if norm.running_mean is not None:
            made.to(norm.running_mean.device, norm.running_mean.dtype)
        made.load_state_dict(norm.state_dict())
        if norm.affine:
            made.weight, made.bias = norm.weight, norm.bias  # the same objects: frozen weights stay frozen
        return made.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (N, C, ...), float."""
        if not self.training:
            return super().forward(x)
        normalised: Tensor
        normalised, mean, variance, count = _Normalise.apply(x, self.eps)  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
        if not self.affine:
            return normalised
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        return torch.addcmul(self.bias.view(shape), normalised, self.weight.view(shape)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"input of a batch norm must be (N, C, ...), got {tuple(x.shape)}")


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) over all ranks.

    Each rank's loss depends on the values of all ranks, through mean and variance, so the backward pass also sums over
    ranks. Ranks exchange their means and squared deviations, which are combined without cancellation.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        others = [dim for dim in range(x.ndim) if dim != 1]
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        own_count = x.numel() // x.shape[1]
        own_variance, own_mean = torch.var_mean(x, others, correction=0)
        table = x.new_zeros(num_ranks(), 3, x.shape[1])  # each rank fills its own row
        table[own_rank()] = torch.stack((own_mean, own_variance * own_count, torch.full_like(own_mean, own_count)))
        means, deviations, counts = sum_over_ranks(table).unbind(dim=1)
        count = counts.sum(dim=0)
        mean = (means * counts).sum(dim=0) / count
        variance = (deviations + counts * (means - mean).square()).sum(dim=0) / count
        scale = (variance + eps).rsqrt()
        normalised = (x - mean.view(shape)).mul_(scale.view(shape))
        ctx.save_for_backward(normalised, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        normalised, scale, count = ctx.saved_tensors
        others = [dim for dim in range(gradient.ndim) if dim != 1]
        shape = (1, -1, *(1 for _ in gradient.shape[2:]))
        own = torch.stack((gradient.sum(others), (gradient * normalised).sum(others)))
        mean, slope = sum_over_ranks(own) / count
        return (gradient - mean.view(shape) - normalised * slope.view(shape)) * scale.view(shape), None
