"""The X-ShiftNet block: an X3D bottleneck that mixes frames by a temporal shift."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.layers.conv_norm import ConvNorm
from epam_model.layers.frame_conv import FrameConv
from epam_model.layers.temporal_shift import temporal_shift

SQUEEZE_RATIO = 1 / 16
SQUEEZE_DIVISOR = 8


def squeeze_width(channels: int) -> int:
    """The bottleneck width of squeeze-excitation: about channels / 16, a multiple of 8.

    Rounded to the nearest multiple, at least 8, and never more than 10 % below channels / 16: 8, 8, 16, 32 for
    54, 108, 216, 432 channels (X3D, Feichtenhofer, CVPR 2020).
    """
    exact = channels * SQUEEZE_RATIO
    width = max(SQUEEZE_DIVISOR, int(exact + SQUEEZE_DIVISOR / 2) // SQUEEZE_DIVISOR * SQUEEZE_DIVISOR)
    return width + SQUEEZE_DIVISOR if width < 0.9 * exact else width


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate in (0, 1) computed from the channel means of the whole clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = squeeze_width(channels)
        self.squeeze = FrameConv(channels, width, bias=True)
        self.excite = FrameConv(width, channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Gates (B, C, T, H, W); the shape stays the same."""
        gate = x.mean(dim=(2, 3, 4), keepdim=True)  # (B, C, 1, 1, 1)
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(gate))))
        return x * gate


class ShiftBlock(nn.Module):
    """Shift, expand, depthwise convolution, optional squeeze-excitation, project, and a residual path.

    The residual path takes the input before the shift, so it keeps each frame unchanged. It is the identity, unless
    the stride is 2 (then a strided 1x1x1 convolution with batch norm).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        inner_channels: channels of the depthwise convolution.
        stride: spatial stride, 1 or 2; 1 needs in_channels == out_channels.
        fold: channels shifted each way in time, see `temporal_shift`.
        squeeze_excite: whether the block has squeeze-excitation (blocks 0, 2, 4, ... of a stage do).

    Raises:
        ValueError: if the stride is 1 and the numbers of channels differ.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        inner_channels: int,
        *,
        stride: int,
        fold: int,
        squeeze_excite: bool,
    ) -> None:
        super().__init__()
        if stride == 1 and in_channels != out_channels:
            raise ValueError(f"ShiftBlock: stride 1 needs equal channels, got {in_channels} in and {out_channels} out")
        self.fold = fold
        self.shortcut = nn.Identity() if stride == 1 else ConvNorm(FrameConv(in_channels, out_channels, stride=stride))
        self.expand = ConvNorm(FrameConv(in_channels, inner_channels))
        self.depthwise = ConvNorm(FrameConv(inner_channels, inner_channels, 3, stride=stride, groups=inner_channels))
        self.squeeze_excite = SqueezeExcite(inner_channels) if squeeze_excite else nn.Identity()
        self.project = ConvNorm(FrameConv(inner_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, T, H, W) to (B, C_out, T, H / stride, W / stride), sizes rounded up."""
        # In place where no gradient needs the old values: large tensors cost more to allocate than to compute.
        out = functional.relu(self.expand(temporal_shift(x, self.fold)), inplace=True)
        out = functional.silu(self.squeeze_excite(self.depthwise(out)), inplace=not torch.is_grad_enabled())
        return functional.relu(self.project(out).add_(self.shortcut(x)), inplace=True)
