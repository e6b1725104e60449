"""RGBPoseConv3D: an RGB path and a pose path with lateral connections both ways, with or without PCAN's interaction.

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; the interaction is that of Li et al., AAAI 2025.
Details (widths, strides, which features feed which) follow MMAction2 1.2 and the PCAN authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.layers.feature_interaction import FeatureInteraction
from epam_model.layers.time_conv import TimeConv
from epam_model.networks.published_weights import PublishedWeights
from epam_model.networks.resnet_path import pose_path, rgb_path
from epam_model.networks.two_streams import frame_ratio, keep_frozen
from epam_model.weights.published_names import Names
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D

FRAME_RATIO = 4
"""Pose frames per RGB frame."""
LATERAL_KERNEL = 7

_RGB_CHANNELS, _POSE_CHANNELS = (512, 1024), (128, 256)
"""Channels of both paths at the lateral connections: after RGB stages 2 and 3, pose stages 1 and 2."""
_TO_RGB, _TO_POSE = (128, 256), (32, 64)
"""Channels that the lateral connections add there."""


class SlowToFast(nn.Module):
    """The lateral connection from RGB to pose: a transposed convolution along time, batch norm, ReLU.

    Args:
        in_channels: channels of the RGB features.
        out_channels: channels that the pose path gets.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(
            in_channels,
            out_channels,
            (LATERAL_KERNEL, 1, 1),
            stride=(FRAME_RATIO, 1, 1),
            padding=(LATERAL_KERNEL // 2, 0, 0),
            output_padding=(FRAME_RATIO - 1, 0, 0),  # 4 * T frames
            bias=False,
        )
        self.norm = nn.BatchNorm3d(out_channels)

    def reset_parameters(self) -> None:
        """Resets the weights (torch's default, as published) and the running statistics."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, T, H, W) to (B, C_out, 4 * T, H, W)."""
        return functional.relu(self.norm(self.conv(x)))


class RGBPoseConv3D(PublishedWeights):
    """Features of both paths.

    The pose clip has four times the frames of the RGB clip (published: 32 and 8) and a quarter of its size (56 and
    224). After RGB stages 2 and 3 (pose stages 1 and 2) each path gets channels from the other by a lateral connection.
    With the interaction, `FeatureInteraction` weights the features of both paths there; the lateral connections read
    the features before it.

    Args:
        num_joints: joints of the heatmaps.
        interaction: whether to add PCAN's interaction.
        freeze_rgb: the RGB path gets no gradients, and its batch norms stay in evaluation mode.
        freeze_pose: the same for the pose path.

    Attributes:
        rgb_backbone, pose_backbone: the paths, each a `ResNetPath` with lateral channels.
        rgb_channels, pose_channels: channels of the features (2048, 512).
    """

    published = RGBPOSE_CONV3D
    module_parts: ClassVar[Mapping[str, str]] = {
        "rgb_backbone": "rgb",
        "pose_backbone": "pose",
        "pose_to_rgb": "joint",
        "rgb_to_pose": "joint",
        "interactions": "joint",
    }

    def __init__(
        self,
        *,
        num_joints: int = 17,
        interaction: bool = True,
        freeze_rgb: bool = False,
        freeze_pose: bool = False,
    ) -> None:
        super().__init__()
        self.rgb_backbone = rgb_path((0, 0, *_TO_RGB))
        self.pose_backbone = pose_path(num_joints, (0, *_TO_POSE))
        self.rgb_channels = self.rgb_backbone.out_channels
        self.pose_channels = self.pose_backbone.out_channels
        self.pose_to_rgb = nn.ModuleList(
            TimeConv(pose, added, LATERAL_KERNEL, stride=FRAME_RATIO)
            for pose, added in zip(_POSE_CHANNELS, _TO_RGB, strict=True)
        )
        self.rgb_to_pose = nn.ModuleList(
            SlowToFast(rgb, added) for rgb, added in zip(_RGB_CHANNELS, _TO_POSE, strict=True)
        )
        self.interactions = nn.ModuleList(
            FeatureInteraction(rgb, pose, hidden=pose, frame_ratio=FRAME_RATIO)
            for rgb, pose in zip(_RGB_CHANNELS, _POSE_CHANNELS, strict=True)
            if interaction
        )
        self.freeze_rgb = freeze_rgb
        self.freeze_pose = freeze_pose
        self.rgb_backbone.requires_grad_(not freeze_rgb)
        self.pose_backbone.requires_grad_(not freeze_pose)
        self.train()

    def init_weights(self) -> None:
        """Resets to the published initialisation."""
        for module in self.modules():
            if isinstance(module, TimeConv | SlowToFast):
                module.reset_parameters()
            elif isinstance(module, FeatureInteraction):
                module.init_weights()
        for path in (self.rgb_backbone, self.pose_backbone):
            path.init_weights()

    def published_names(self) -> Names:
        """The names of MMAction2 and of PCAN's code."""
        return RGBPOSE_CONV3D.backbone

    def train(self, mode: bool = True) -> RGBPoseConv3D:
        """Switches to training mode, except for frozen paths: their batch norms keep their statistics."""
        super().train(mode)
        keep_frozen({self.rgb_backbone: self.freeze_rgb, self.pose_backbone: self.freeze_pose})
        return self

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the features of a batch.

        Args:
            rgb: normalised frames (B, 3, T, H, W), float.
            pose: heatmaps (B, V, 4 * T, H / 4, W / 4), float.

        Returns:
            RGB features (B, 2048, T, H / 32, W / 32) and pose features (B, 512, 4 * T, H / 32, W / 32).

        Raises:
            ValueError: if the clips do not fit the network or each other.
        """
        ratio = frame_ratio(rgb, pose, self.rgb_backbone, self.pose_backbone)
        if ratio != FRAME_RATIO:
            raise ValueError(
                f"RGBPoseConv3D takes {FRAME_RATIO} pose frames per rgb frame, got {pose.shape[2]} and {rgb.shape[2]}"
            )
        rgb = self.rgb_backbone.run_stage(0, self.rgb_backbone.start(rgb))
        pose = self.pose_backbone.start(pose)
        for index in range(len(self.rgb_to_pose)):
            rgb = self.rgb_backbone.run_stage(index + 1, rgb)
            pose = self.pose_backbone.run_stage(index, pose)
            if rgb.shape[3:] != pose.shape[3:]:
                raise ValueError(
                    f"rgb must be four times the size of pose, got features of {tuple(rgb.shape[3:])} "
                    f"and {tuple(pose.shape[3:])} at a lateral connection"
                )
            to_rgb, to_pose = self.pose_to_rgb[index](pose), self.rgb_to_pose[index](rgb)
            if len(self.interactions):
                rgb, pose = self.interactions[index](rgb, pose)
            rgb, pose = torch.cat((rgb, to_rgb), dim=1), torch.cat((pose, to_pose), dim=1)
        return self.rgb_backbone.run_stage(3, rgb), self.pose_backbone.run_stage(2, pose)
