"""The bottleneck block of RGBPoseConv3D's 3-D ResNets."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from epam_model.layers.conv_norm import ConvNorm
from epam_model.layers.frame_conv import FrameConv
from epam_model.layers.time_conv import TimeConv

EXPANSION = 4


class Bottleneck(nn.Module):
    """Reduces the channels, convolves each frame, expands the channels, and adds the residual path.

    The reduction mixes three frames (kernel 3x1x1) in an inflated stage, else its kernel is 1x1x1. The residual path is
    the identity, unless channels or stride change (then a strided 1x1x1 convolution with batch norm). He et al., CVPR
    2016; inflated as in SlowFast's slow path (Feichtenhofer et al., ICCV 2019).

    Args:
        in_channels: channels of the input.
        width: channels inside; the output has four times as many.
        stride: spatial stride of the frame convolution.
        temporal: whether the reduction spans three frames.
    """

    def __init__(self, in_channels: int, width: int, *, stride: int = 1, temporal: bool = False) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.reduce = ConvNorm(TimeConv(in_channels, width) if temporal else FrameConv(in_channels, width))
        self.spatial = ConvNorm(FrameConv(width, width, 3, stride=stride))
        self.expand = ConvNorm(FrameConv(width, out_channels))
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = ConvNorm(FrameConv(in_channels, out_channels, stride=stride)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, T, H, W) to (B, 4 * width, T, H / stride, W / stride), sizes rounded up."""
        # In place where no gradient needs the old values: large tensors cost more to allocate than to compute.
        out = functional.relu(self.reduce(x), inplace=True)
        out = functional.relu(self.spatial(out), inplace=True)
        return functional.relu(self.expand(out).add_(self.shortcut(x)), inplace=True)
