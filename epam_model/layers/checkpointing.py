"""Activation checkpointing: blocks compute their activations again in the backward pass instead of keeping them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@runtime_checkable
class Checkpointing(Protocol):
    """A module that can compute its activations again in the backward pass, and does where this is set."""

    checkpoint_activations: bool


def run_blocks(blocks: nn.Sequential, x: Tensor, *, checkpointed: bool) -> Tensor:
    """The blocks one after another; with `checkpointed`, only their inputs are kept for the backward pass.

    Results, gradients and batch-norm statistics are those of the plain form.
    """
    for block in blocks:
        if checkpointed:
            x = checkpoint(block, x, use_reentrant=False, context_fn=partial(_contexts, block))
        else:
            x = block(x)
    return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """The second forward pass must not count the same batch again in the running statistics."""
    kinds = nn.BatchNorm3d | nn.SyncBatchNorm
    norms = [norm for norm in block.modules() if isinstance(norm, kinds) and norm.training]  # frozen ones do not count
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # the share of the batch; without statistics at all, fewer tensors would be saved
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
