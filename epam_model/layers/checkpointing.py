"""Activation checkpointing: blocks recompute their activations in the backward pass instead of keeping them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@runtime_checkable
class Checkpointing(Protocol):
    """A module that recomputes its activations in the backward pass if `checkpoint_activations` is set."""

    checkpoint_activations: bool


def run_blocks(blocks: nn.Sequential, x: Tensor, *, checkpointed: bool) -> Tensor:
    """Runs the blocks in order; with `checkpointed`, only their inputs are kept for the backward pass.

    Results, gradients and batch-norm statistics are the same either way.
    """
    for block in blocks:
        if checkpointed and torch.compiler.is_compiling():
            # The compiler changes statistics in its forward graph alone, and takes no contexts of Python.
            x = checkpoint(block, x, use_reentrant=False)
        elif checkpointed:
            x = checkpoint(block, x, use_reentrant=False, context_fn=partial(_contexts, block))
        else:
            x = block(x)
    return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keeps the second forward pass from counting the same batch again in the running statistics."""
    kinds = nn.BatchNorm3d | nn.SyncBatchNorm
    norms = [norm for norm in block.modules() if isinstance(norm, kinds) and norm.training]  # frozen ones do not count
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # not track_running_stats = False: then fewer tensors would be saved than the first time
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
