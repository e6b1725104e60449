"""X-ShiftNet, one stream of EPAM-Net: an X3D-like network of shift blocks, for frames or for heatmaps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.layers.checkpointing import run_blocks
from epam_model.layers.conv_norm import ConvNorm
from epam_model.layers.frame_conv import FrameConv
from epam_model.layers.x3d_shift import ShiftBlock
from epam_model.networks.published_weights import PublishedWeights
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import Names

STEM_CHANNELS = 24
EXPANSION = 2.25


class XShiftNet(PublishedWeights):
    """One stream: stem, stages of shift blocks (each stage halves the resolution), a last 1x1x1 convolution.

    Stage s has 24 * 2^s channels; blocks are 2.25 times as wide inside. The number of frames stays the same.
    Use `rgb_stream` and `pose_stream` for the published configurations.

    Args:
        in_channels: channels of the input: 3 for RGB, the number of joints for heatmaps.
        num_blocks: blocks of each stage.
        stem_stride: spatial stride of the stem.
        fold_divisor: each block shifts C_in // fold_divisor channels each way in time.

    Attributes:
        out_channels: channels of the features.
        stride: size of the input over size of the features.
        checkpoint_activations: whether to recompute the blocks' activations in the backward pass instead of keeping
            them.
    """

    published = EPAM

    def __init__(self, in_channels: int, num_blocks: Sequence[int], *, stem_stride: int, fold_divisor: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride: int = stem_stride * 2 ** len(num_blocks)
        self.checkpoint_activations = False
        self.stem = ConvNorm(FrameConv(in_channels, STEM_CHANNELS, 3, stride=stem_stride))
        self.stages = nn.ModuleList()
        width_in = STEM_CHANNELS
        for index, depth in enumerate(num_blocks):
            width = STEM_CHANNELS * 2**index
            self.stages.append(_stage(width_in, width, depth, fold_divisor))
            width_in = width
        self.out_channels = int(width_in * EXPANSION)
        self.last = ConvNorm(FrameConv(width_in, self.out_channels))
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the published initialisation: Kaiming-normal convolutions by fan-out, batch norm 1 and 0.

        The last batch norm of each block gets weight 0, so that a new block is its residual path.
        """
        for module in self.modules():
            if isinstance(module, FrameConv | nn.BatchNorm3d | nn.SyncBatchNorm):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, ShiftBlock):
                nn.init.zeros_(module.project.norm.weight)

    def published_names(self) -> Names:
        """The names of EPAM-Net's code."""
        return EPAM.either_stream

    def forward(self, x: Tensor) -> Tensor:
        """Maps a clip (B, C, T, H, W), float, to features (B, out_channels, T, H / stride, W / stride).

        Sizes are rounded up.

        Raises:
            ValueError: if x is not 5-D or its channels are not `in_channels`.
        """
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ValueError(f"clip must be (B, {self.in_channels}, T, H, W), got {tuple(x.shape)}")
        x = functional.relu(self.stem(x.contiguous(memory_format=torch.channels_last_3d)), inplace=True)
        for stage in self.stages:
            assert isinstance(stage, nn.Sequential)
            x = run_blocks(stage, x, checkpointed=self.checkpoint_activations and self.training)
        return functional.relu(self.last(x), inplace=True)

    def feature_size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the features of a clip (B, C, T, H, W)."""
        return math.ceil(x.shape[3] / self.stride), math.ceil(x.shape[4] / self.stride)


def rgb_stream() -> XShiftNet:
    """The published RGB stream: (B, 3, T, H, W) to (B, 432, T, H / 32, W / 32); 1,980,030 parameters."""
    return XShiftNet(3, (3, 5, 11, 7), stem_stride=2, fold_divisor=8)


def pose_stream(num_joints: int = 17) -> XShiftNet:
    """The published pose stream: (B, V, T, H, W) to (B, 216, T, H / 8, W / 8); 519,580 parameters at V = 17.

    It shifts twice as large a share of channels as the RGB stream.
    """
    return XShiftNet(num_joints, (5, 11, 7), stem_stride=1, fold_divisor=4)


def _stage(width_in: int, width: int, depth: int, fold_divisor: int) -> nn.Sequential:
    blocks = nn.Sequential()
    for index in range(depth):
        channels = width_in if index == 0 else width
        block = ShiftBlock(
            channels,
            width,
            int(width * EXPANSION),
            stride=2 if index == 0 else 1,
            fold=channels // fold_divisor,
            squeeze_excite=index % 2 == 0,
        )
        blocks.append(block)
    return blocks
