"""PCAN's interaction of the two streams: each gates its channels, frame by frame, by cross-attention to the other.

Li et al., "Prototypical Calibrating Ambiguous Samples for Micro-Action Recognition", AAAI 2025. Taken from the authors'
code: the pose stream attends to the RGB tokens after their update; pooling is max pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.ranks.dropout import RanksDropout

NUM_HEADS = 8
ATTENTION_DROPOUT = 0.1


class CrossAttention(nn.Module):
    """Multi-head attention of one stream's frames over those of the other.

    Args:
        channels: channels of both streams, a multiple of the 8 heads.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        self.dropout = RanksDropout(ATTENTION_DROPOUT)
        # The published code rounds the square root to float32; in float64 the difference is visible.
        self.scale = 1 / torch.tensor(channels / NUM_HEADS, dtype=torch.float32).sqrt().item()

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Lets tokens (B, T, C) attend to others (B, T, C); returns (B, T, C)."""
        query, key, value = (
            layer(sequence).unflatten(2, (NUM_HEADS, -1)).transpose(1, 2)  # (B, heads, T, C / heads)
            for layer, sequence in ((self.query, tokens), (self.key, others), (self.value, others))
        )
        if self.training:  # spelled out: torch's own dropout would depend on how ranks share the batch
            weights = (query @ key.transpose(2, 3) * self.scale).softmax(dim=3)
            attended = self.dropout(weights) @ value
        else:
            attended = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


class FeatureInteraction(nn.Module):
    """Multiplies the features of both streams by 1 + gate, per frame and channel; cross-attention gives the gates.

    A frame of a stream becomes one token: a convolution to `hidden` channels (for the pose it spans `frame_ratio`
    frames, so that both streams have one token per RGB frame), then the maximum over the pixels.

    Args:
        rgb_channels: channels of the RGB features.
        pose_channels: channels of the pose features.
        hidden: channels of a token, a multiple of 8.
        frame_ratio: pose frames per RGB frame.
    """

    def __init__(self, rgb_channels: int, pose_channels: int, hidden: int, *, frame_ratio: int = 4) -> None:
        super().__init__()
        time = (frame_ratio, 1, 1)
        self.rgb_in = nn.Conv3d(rgb_channels, hidden, 1)
        self.pose_in = nn.Conv3d(pose_channels, hidden, time, stride=time)
        self.rgb_attention = CrossAttention(hidden)
        self.pose_attention = CrossAttention(hidden)
        self.rgb_out = nn.Conv3d(hidden, rgb_channels, 1)
        self.pose_out = nn.ConvTranspose3d(hidden, pose_channels, time, stride=time)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the published initialisation: Kaiming-normal convolutions by fan-out, torch's default elsewhere."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.ConvTranspose3d):
                module.reset_parameters()
            elif isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Weights rgb (B, C, T, H, W) and pose (B, C', r * T, H', W'); the shapes stay the same."""
        rgb_tokens = self.rgb_in(rgb).amax(dim=(3, 4)).transpose(1, 2)  # (B, T, hidden)
        pose_tokens = self.pose_in(pose).amax(dim=(3, 4)).transpose(1, 2)
        rgb_tokens = self.rgb_attention(rgb_tokens, pose_tokens)
        pose_tokens = self.pose_attention(pose_tokens, rgb_tokens)
        rgb_gate = self.rgb_out(rgb_tokens.transpose(1, 2)[..., None, None])  # (B, C, T, 1, 1)
        pose_gate = self.pose_out(pose_tokens.transpose(1, 2)[..., None, None])  # (B, C', r*T, 1, 1)
        return torch.addcmul(rgb, rgb, rgb_gate), torch.addcmul(pose, pose, pose_gate)
