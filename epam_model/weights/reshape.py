"""Rules that convert weights to another shape; each gives exactly the same output for clips without motion."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_LATERAL = ("stages.1.0.", "stages.2.0.", "stages.3.0.")
"""First blocks of stages, whose first convolutions may also read channels of the other path."""
_TIME_STEM = "conv1_t.conv.weight"  # of X3D, with any prefix


def reshaped(name: str, value: Tensor, shape: torch.Size) -> tuple[Tensor, str] | None:
    """A weight in another shape, and what was done; None if no rule applies.

    - 2-D kernels of a convolution are spread evenly over the frames of the 3-D kernel (inflation; Carreira and
      Zisserman, CVPR 2017).
    - A 3-D depthwise kernel is summed over its frames to a kernel of one frame.
    - Input channels that a lateral connection adds get zero weights, so that a path starts as if it were alone.

    Args:
        name: our name of the weight.
        value: the weight of a convolution, from the file.
        shape: the shape that the model needs, 5-D.
    """
    if len(shape) != 5:
        return None
    steps = []
    if value.ndim == 4 and value.shape[0] == shape[0] and value.shape[1] <= shape[1] and value.shape[2:] == shape[3:]:
        value = value[:, :, None].expand(-1, -1, shape[2], -1, -1) / shape[2]
        steps.append("inflated")
    if value.ndim == 5 and shape[2] == 1 and shape[1] == 1 and value.shape[2] > 1:
        value = value.sum(dim=2, keepdim=True)
        steps.append("summed over time")
    is_lateral = any(mark in name for mark in _LATERAL) and ("reduce" in name or "shortcut" in name)
    alike = value.ndim == 5 and value.shape[0] == shape[0] and value.shape[2:] == shape[2:]
    if is_lateral and alike and value.shape[1] < shape[1]:
        value = torch.cat((value, value.new_zeros(shape[0], shape[1] - value.shape[1], *value.shape[2:])), dim=1)
        steps.append("zeros for the lateral channels")
    return (value.contiguous(), ", ".join(steps)) if steps and value.shape == shape else None


def fold_x3d_stem(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Folds X3D's depthwise convolution over time, the second of its stem, into the first: a factor per channel.

    A state dict of any other network is returned unchanged.
    """
    folded = dict(state)
    for prefix in [name.removesuffix(_TIME_STEM) for name in state if name.endswith(_TIME_STEM)]:
        time = folded.get(f"{prefix}{_TIME_STEM}")
        space = folded.get(f"{prefix}conv1_s.conv.weight")
        if time is None or space is None or not time.ndim == space.ndim == 5 or len(time) != len(space):
            continue
        if time.shape[1] != 1:
            continue
        factor = time.sum(dim=2, keepdim=True)  # (C, 1, 1, 1, 1)
        folded[f"{prefix}conv1_s.conv.weight"] = space * factor
        del folded[f"{prefix}conv1_t.conv.weight"]
        for name in [name for name in folded if name.startswith(f"{prefix}conv1_t.bn.")]:
            folded[name.replace("conv1_t", "conv1_s")] = folded.pop(name)
    return folded
