"""Batch norms folded into the convolutions before them, for evaluation: fewer passes over memory, the same numbers."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from epam_model.layers.conv_norm import ConvNorm

Model = TypeVar("Model", bound=nn.Module)


def fold_batch_norms(model: Model) -> Model:
    """A copy of a model in evaluation mode, whose normalised convolutions have a bias in place of a batch norm.

    The copy's state dict is its own; it is not for training or checkpoints.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm3d):
            norm = module.norm
            assert norm.running_mean is not None and norm.running_var is not None
            with torch.no_grad():
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                module.conv.weight.mul_(scale.view(-1, 1, 1, 1, 1))
                module.conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
            module.norm = nn.Identity()  # type: ignore[assignment]
    return folded
