"""A convolution along time only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TimeConv(nn.Module):
    """A 3-D convolution with kernel (k, 1, 1), computed as a 2-D convolution over (time, pixels).

    The counterpart of `FrameConv`: pixels are independent. The weight keeps the 5-D shape of `nn.Conv3d`. Padding
    keeps the length at stride 1.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: frames that the kernel spans, odd.
        stride: temporal stride.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, 1, 1))
        self.bias: nn.Parameter | None = None  # set only when a batch norm is folded in, see `fold`
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws Kaiming-normal weights by fan-out (the published initialisation)."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, C_in, T, H, W) to (B, C_out, T / stride, H, W), the length rounded up."""
        pixels = x.flatten(3)  # (B, C_in, T, H*W), channels-last if x is
        weight = self.weight[..., 0]  # indexing gives the gradient the weight's strides, see `FrameConv`
        pixels = functional.conv2d(pixels, weight, self.bias, (self.stride, 1), (self.padding, 0))
        return pixels.view(*pixels.shape[:3], *x.shape[3:])

    def extra_repr(self) -> str:
        """The weight's shape and the stride, for `print(model)`."""
        return f"{tuple(self.weight.shape)}, stride={self.stride}"
