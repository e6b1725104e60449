"""Batch norms folded into the convolutions before them, for evaluation: fewer passes over memory, the same numbers."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from epam_model.layers.conv_norm import ConvNorm

Model = TypeVar("Model", bound=nn.Module)


def fold_batch_norms(model: Model) -> Model:
    """A copy of a model in evaluation mode, whose convolutions have a bias instead of a batch norm.

    Its state dict has other names than the model's: do not use it for training or checkpoints.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm3d):
            norm = module.norm
            assert norm.running_mean is not None and norm.running_var is not None
            module.conv.weight, module.conv.bias = fuse_conv_bn_weights(
                module.conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            module.norm = nn.Identity()  # type: ignore[assignment]
    return folded
