"""The two paths of RGBPoseConv3D: slow 3-D ResNets for frames and for heatmaps, alone or with lateral channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.layers.bottleneck import EXPANSION, Bottleneck
from epam_model.layers.checkpointing import run_blocks
from epam_model.layers.conv_norm import ConvNorm
from epam_model.layers.frame_conv import FrameConv, fold_time, unfold_time
from epam_model.layers.time_conv import TimeConv
from epam_model.networks.published_weights import PublishedWeights
from epam_model.weights.published_names import Names
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D


class ResNetPath(PublishedWeights):
    """One path: stem 1x7x7, 3x3 max pooling, stages of bottlenecks; the number of frames stays the same.

    Use `rgb_path` and `pose_path` for the published configurations.

    Args:
        in_channels: channels of the input: 3 for RGB, the number of joints for heatmaps.
        base_channels: channels of the stem; stage s is base_channels * 2^s wide inside.
        num_blocks: blocks of each stage.
        stem_stride: spatial stride of the stem, and of the pooling after it.
        stage_strides: spatial stride of each stage.
        temporal: for each stage, whether its blocks mix frames.
        lateral_channels: for each stage, input channels that come from the other path.

    Attributes:
        out_channels: channels of the features.
        stride: size of the input over size of the features.
        checkpoint_activations: whether to recompute the blocks' activations in the backward pass instead of keeping
            them.
    """

    published = RGBPOSE_CONV3D

    def __init__(
        self,
        in_channels: int,
        base_channels: int,
        num_blocks: Sequence[int],
        *,
        stem_stride: int,
        stage_strides: Sequence[int],
        temporal: Sequence[bool],
        lateral_channels: Sequence[int],
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem_stride = stem_stride
        self.stride: int = stem_stride**2 * math.prod(stage_strides)
        self.checkpoint_activations = False
        self.stem = ConvNorm(FrameConv(in_channels, base_channels, 7, stride=stem_stride))
        self.stages = nn.ModuleList()
        channels = base_channels
        for index, depth in enumerate(num_blocks):
            width = base_channels * 2**index
            blocks = nn.Sequential()
            for block in range(depth):
                first = block == 0
                inputs = channels + lateral_channels[index] if first else width * EXPANSION
                stride = stage_strides[index] if first else 1
                blocks.append(Bottleneck(inputs, width, stride=stride, temporal=temporal[index]))
            self.stages.append(blocks)
            channels = width * EXPANSION
        self.out_channels = channels
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the published initialisation: Kaiming-normal convolutions, batch norm 1 and 0.

        The last batch norm of each block gets weight 0, so that a new block is its residual path.
        """
        for module in self.modules():
            if isinstance(module, FrameConv | TimeConv | nn.BatchNorm3d | nn.SyncBatchNorm):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.expand.norm.weight)

    def published_names(self) -> Names:
        """The names of MMAction2."""
        return RGBPOSE_CONV3D.either_stream

    def start(self, x: Tensor) -> Tensor:
        """Stem and pooling: a clip (B, C, T, H, W), float, to (B, base_channels, T, H / stem_stride^2, ...).

        Raises:
            ValueError: if x is not 5-D or its channels are not `in_channels`.
        """
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ValueError(f"clip must be (B, {self.in_channels}, T, H, W), got {tuple(x.shape)}")
        x = functional.relu(self.stem(x.contiguous(memory_format=torch.channels_last_3d)), inplace=True)
        return unfold_time(functional.max_pool2d(fold_time(x), 3, self.stem_stride, 1), x)

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        """Runs one stage: (B, C, T, H, W) to (B, C', T, H / stride, W / stride), sizes rounded up."""
        stage = self.stages[index]
        assert isinstance(stage, nn.Sequential)
        return run_blocks(stage, x, checkpointed=self.checkpoint_activations and self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Maps a clip (B, C, T, H, W), float, to features (B, out_channels, T, H / stride, W / stride).

        For a path without lateral channels.

        Raises:
            ValueError: if x is not 5-D or its channels are not `in_channels`.
        """
        x = self.start(x)
        for index in range(len(self.stages)):
            x = self.run_stage(index, x)
        return x

    def feature_size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the features of a clip (B, C, T, H, W)."""
        return math.ceil(x.shape[3] / self.stride), math.ceil(x.shape[4] / self.stride)


def rgb_path(lateral_channels: Sequence[int] = (0, 0, 0, 0)) -> ResNetPath:
    """The RGB path, a ResNet-50: (B, 3, T, H, W) to (B, 2048, T, H / 32, W / 32)."""
    return ResNetPath(
        3,
        64,
        (3, 4, 6, 3),
        stem_stride=2,
        stage_strides=(1, 2, 2, 2),
        temporal=(False, False, True, True),
        lateral_channels=lateral_channels,
    )


def pose_path(num_joints: int = 17, lateral_channels: Sequence[int] = (0, 0, 0)) -> ResNetPath:
    """The pose path: (B, V, T, H, W) to (B, 512, T, H / 8, W / 8)."""
    return ResNetPath(
        num_joints,
        32,
        (4, 6, 3),
        stem_stride=1,
        stage_strides=(2, 2, 2),
        temporal=(False, True, True),
        lateral_channels=lateral_channels,
    )
