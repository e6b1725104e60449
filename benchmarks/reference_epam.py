"""A straightforward 5-D implementation of EPAM-Net: `nn.Conv3d`, `nn.BatchNorm3d`, contiguous (N, C, T, H, W).

`benchmarks.model` compares the speed with this reference. Its parameters have the names of `epam_model`, so that both
load the same state dict; `benchmarks.model` first checks that both give the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.layers.x3d_shift import squeeze_width


def conv(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv3d:
    return nn.Conv3d(
        c_in, c_out, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2), groups=groups, bias=bias
    )


class ConvNorm(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = conv(c_in, c_out, kernel, stride, groups)
        self.norm = nn.BatchNorm3d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = conv(channels, squeeze_width(channels), bias=True)
        self.excite = conv(squeeze_width(channels), channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        gate = functional.adaptive_avg_pool3d(x, 1)
        return x * torch.sigmoid(self.excite(functional.relu(self.squeeze(gate))))


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int, inner: int, stride: int, fold: int, gated: bool) -> None:
        super().__init__()
        self.fold = fold
        self.shortcut = ConvNorm(c_in, c_out, stride=stride) if stride > 1 else nn.Identity()
        self.expand = ConvNorm(c_in, inner)
        self.depthwise = ConvNorm(inner, inner, 3, stride, inner)
        self.squeeze_excite = SqueezeExcite(inner) if gated else nn.Identity()
        self.project = ConvNorm(inner, c_out)

    def forward(self, x: Tensor) -> Tensor:
        shifted = torch.zeros_like(x)
        shifted[:, : self.fold, :-1] = x[:, : self.fold, 1:]
        shifted[:, self.fold : 2 * self.fold, 1:] = x[:, self.fold : 2 * self.fold, :-1]
        shifted[:, 2 * self.fold :] = x[:, 2 * self.fold :]
        out = functional.relu(self.expand(shifted))
        out = functional.silu(self.squeeze_excite(self.depthwise(out)))
        return functional.relu(self.project(out) + self.shortcut(x))


class Stream(nn.Module):
    def __init__(self, c_in: int, depths: tuple[int, ...], stem_stride: int, fold_divisor: int) -> None:
        super().__init__()
        self.stem = ConvNorm(c_in, 24, 3, stem_stride)
        self.stages = nn.ModuleList()
        width_in = 24
        for index, depth in enumerate(depths):
            width = 24 * 2**index
            blocks = nn.Sequential()
            for number in range(depth):
                channels = width_in if number == 0 else width
                stride = 2 if number == 0 else 1
                blocks.append(
                    Block(channels, width, int(2.25 * width), stride, channels // fold_divisor, number % 2 == 0)
                )
            self.stages.append(blocks)
            width_in = width
        self.last = ConvNorm(width_in, int(2.25 * width_in))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        return functional.relu(self.last(x))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = ConvNorm(2, 1, 7)
        self.spatial.norm.momentum = 0.01  # as published
        self.temporal = nn.Conv1d(1, 1, 7, padding=3, bias=False)

    def forward(self, pose: Tensor) -> Tensor:
        pooled = torch.cat([pose.amax(1, keepdim=True), pose.mean(1, keepdim=True)], 1)
        spatial = torch.sigmoid(self.spatial(pooled))
        return spatial * torch.sigmoid(self.temporal(spatial.mean((3, 4))))[..., None, None]


class ReferenceEPAM(nn.Module):
    """The backbone: (rgb, pose) to the attended RGB features and the pose features."""

    def __init__(self, num_joints: int = 17) -> None:
        super().__init__()
        self.rgb_backbone = Stream(3, (3, 5, 11, 7), 2, 8)
        self.pose_backbone = Stream(num_joints, (5, 11, 7), 1, 4)
        self.attention = Attention()

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        rgb_features, pose_features = self.rgb_backbone(rgb), self.pose_backbone(pose)
        attention = self.attention(pose_features[:, :, :: pose.shape[2] // rgb.shape[2]])
        return rgb_features + rgb_features * attention, pose_features
