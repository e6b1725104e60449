"""A convolution over single frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def fold_time(x: Tensor) -> Tensor:
    """Frames (B * T, C, H, W) of clips (B, C, T, H, W).

    For a channels-last-3d tensor, stored as (B, T, H, W, C), this is a view, and the frames are channels-last.
    """
    return x.transpose(1, 2).flatten(0, 1)


def unfold_time(frames: Tensor, clips: Tensor) -> Tensor:
    """Clips (B, C, T, H, W) of frames (B * T, C, H, W), with B and T of `clips`; undoes `fold_time`."""
    # No -1 for one of the sizes: an exported graph would then carry B * T / B through every layer.
    return frames.view(clips.shape[0], clips.shape[2], *frames.shape[1:]).transpose(1, 2)


class FrameConv(nn.Module):
    """A 3-D convolution with temporal kernel 1, computed as a 2-D convolution over all frames.

    Every convolution of EPAM-Net has temporal kernel 1, so frames are independent, and 2-D kernels on
    channels-last tensors compute the same about twice as fast as `nn.Conv3d` on a CPU. The weight keeps the 5-D
    shape of `nn.Conv3d`, so that state dicts fit published ones. Padding keeps the spatial size at stride 1.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square spatial kernel, odd.
        stride: spatial stride; time is never strided.
        groups: as in `nn.Conv3d`; `groups=in_channels` is a depthwise convolution.
        bias: whether a bias is added.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = kernel_size // 2
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, 1, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws Kaiming-normal weights by fan-out and zero biases (the published initialisation)."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, C_in, T, H, W) to (B, C_out, T, H / stride, W / stride), sizes rounded up."""
        # Indexing, unlike squeeze, gives the gradient the weight's strides, as DistributedDataParallel needs.
        weight = self.weight[:, :, 0]
        frames = functional.conv2d(fold_time(x), weight, self.bias, self.stride, self.padding, groups=self.groups)
        return unfold_time(frames, x)

    def extra_repr(self) -> str:
        """The weight's shape and the stride, for `print(model)`."""
        shape = tuple(self.weight.shape)
        return f"{shape}, stride={self.stride}, groups={self.groups}, bias={self.bias is not None}"
