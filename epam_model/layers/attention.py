"""Attention maps, computed from the pose stream, that weight the RGB stream in space and time.

Both modules take pose features (B, C, T, H, W) at the RGB frames and return a map (B, 1, T, H, W) in (0, 1),
the product of a spatial map per frame and one temporal weight per frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.layers.conv_norm import ConvNorm
from epam_model.layers.frame_conv import FrameConv


class CBAMNestedAttention(nn.Module):
    """CBAM-style spatial attention, with the temporal attention computed from the spatial map itself.

    S = sigmoid(BN(conv 7x7 of [max over channels, mean over channels])); A = sigmoid(conv1d, width 7, of the
    spatial mean of S); the map is S * A. 107 parameters, any clip length. Published with EPAM-Net as
    `CBAM_spatial_efficient_temporal`, nested form.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spatial = ConvNorm(FrameConv(2, 1, 7), momentum=0.01)  # the published momentum
        self.temporal = nn.Conv1d(1, 1, 7, padding=3, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the published initialisation: Kaiming-normal convolutions by fan-out, batch norm 1 and 0."""
        self.spatial.reset_parameters()
        nn.init.kaiming_normal_(self.temporal.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pose: Tensor) -> Tensor:
        """Maps pose features (B, C, T, H, W) to the attention map (B, 1, T, H, W)."""
        pooled = torch.cat([pose.amax(dim=1, keepdim=True), pose.mean(dim=1, keepdim=True)], dim=1)
        spatial = torch.sigmoid(self.spatial(pooled))  # (B, 1, T, H, W)
        temporal = torch.sigmoid(self.temporal(spatial.mean(dim=(3, 4))))  # (B, 1, T)
        return spatial * temporal[..., None, None]


class SpatialTemporalAttention(nn.Module):
    """Spatial attention from two convolutions, then temporal attention from two fully connected layers.

    S = sigmoid(conv 7x7 of ReLU(conv 3x3 of the features to one channel)); A = sigmoid(FC(ReLU(FC(spatial
    mean of S)))); the map is S * A. Published with EPAM-Net as `spatial_temporal`.

    Args:
        channels: channels of the pose features.
        num_frames: clip length T; it sets the size of the fully connected layers.
    """

    def __init__(self, channels: int = 216, num_frames: int = 16) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.compress = FrameConv(channels, 1, 3, bias=True)
        self.spatial = FrameConv(1, 1, 7, bias=True)
        self.squeeze = nn.Linear(num_frames, num_frames, bias=False)
        self.excite = nn.Linear(num_frames, num_frames, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the published initialisation: Kaiming-normal convolutions by fan-out, fully connected N(0, 0.01)."""
        self.compress.reset_parameters()
        self.spatial.reset_parameters()
        nn.init.normal_(self.squeeze.weight, std=0.01)
        nn.init.normal_(self.excite.weight, std=0.01)

    def forward(self, pose: Tensor) -> Tensor:
        """Maps pose features (B, C, T, H, W) to the attention map (B, 1, T, H, W).

        Raises:
            ValueError: if T is not `num_frames`.
        """
        if pose.shape[2] != self.num_frames:
            raise ValueError(
                f"spatial_temporal attention needs clips of {self.num_frames} frames, got {pose.shape[2]}; "
                "use CBAM_spatial_efficient_temporal for other lengths"
            )
        spatial = torch.sigmoid(self.spatial(functional.relu(self.compress(pose))))  # (B, 1, T, H, W)
        summary = functional.relu(self.squeeze(spatial.mean(dim=(3, 4))))  # (B, 1, T)
        temporal = torch.sigmoid(self.excite(summary))
        return spatial * temporal[..., None, None]
