"""A convolution with the batch norm that follows it."""

from __future__ import annotations

from torch import Tensor, nn

from epam_model.layers.frame_conv import FrameConv
from epam_model.layers.time_conv import TimeConv


class ConvNorm(nn.Module):
    """A convolution without bias, then batch normalisation; the caller applies the activation.

    Args:
        conv: the convolution.
        momentum: share of the newest batch in the running statistics.
    """

    def __init__(self, conv: FrameConv | TimeConv, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm3d(conv.weight.shape[0], momentum=momentum)

    def reset_parameters(self) -> None:
        """Resets both parts to the published initialisation, and the running statistics."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Convolves and normalises (B, C_in, T, H, W); the output has the shape that the convolution gives."""
        out: Tensor = self.norm(self.conv(x))
        return out
