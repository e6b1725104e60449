"""EPAM-Net: an RGB stream and a pose stream; an attention map from the pose weights the RGB features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from epam_model.layers.attention import CBAMNestedAttention, SpatialTemporalAttention
from epam_model.networks.published_weights import PublishedWeights
from epam_model.networks.two_streams import frame_ratio, keep_frozen
from epam_model.networks.x_shift_net import pose_stream, rgb_stream
from epam_model.weights.convert import load_pretrained
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import Names

Attention = CBAMNestedAttention | SpatialTemporalAttention

# The keys are the names of the published configurations.
ATTENTIONS: dict[str, Callable[[int], Attention]] = {
    "CBAM_spatial_efficient_temporal": lambda channels: CBAMNestedAttention(),
    "spatial_temporal": lambda channels: SpatialTemporalAttention(channels),
}


class EPAMBackbone(PublishedWeights):
    """Features of both streams, the RGB ones weighted by the pose: rgb + rgb * map(pose).

    The pose clip has r times the frames of the RGB clip (published: 48 and 16). Pose features at frames
    0, r, 2r, ... guide the RGB frames, so the sampler must take RGB frames at those instants. Any sizes work
    if the features of both streams have the same size: RGB 224 and pose 56, or RGB 64 and pose 16.

    Args:
        num_classes: ignored; accepted since published configurations give it. Classes belong to the head.
        rgb_pretrained: checkpoint or state dict for `rgb_backbone`, ours or foreign, see `convert`; loaded strictly.
        pose_pretrained: the same for `pose_backbone`.
        attention_type: a key of `ATTENTIONS`. `spatial_temporal` needs 16 RGB frames.
        freeze_rgb: the RGB stream gets no gradients, and its batch norms stay in evaluation mode.
        freeze_pose: the same for the pose stream.
        return_both_streams: False makes forward return only the attended RGB features.
        num_joints: joints of the heatmaps: 17 for COCO, 28 for MA-52.

    Attributes:
        rgb_backbone, pose_backbone, attention: the parts; each can be used alone.
        rgb_channels, pose_channels: channels of the features (432, 216).

    Raises:
        ValueError: for an unknown attention type, or a checkpoint whose keys or shapes do not fit.
    """

    published = EPAM
    module_parts: ClassVar[Mapping[str, str]] = {
        "rgb_backbone": "rgb",
        "pose_backbone": "pose",
        "attention": "joint",
    }

    def __init__(
        self,
        num_classes: int | None = None,
        rgb_pretrained: str | Path | None = None,
        pose_pretrained: str | Path | None = None,
        attention_type: str = "CBAM_spatial_efficient_temporal",
        freeze_rgb: bool = False,
        freeze_pose: bool = False,
        return_both_streams: bool = True,
        num_joints: int = 17,
    ) -> None:
        super().__init__()
        if attention_type not in ATTENTIONS:
            raise ValueError(f"attention_type must be one of {list(ATTENTIONS)}, got {attention_type!r}")
        self.rgb_backbone = rgb_stream()
        self.pose_backbone = pose_stream(num_joints)
        self.rgb_channels = self.rgb_backbone.out_channels
        self.pose_channels = self.pose_backbone.out_channels
        self.attention = ATTENTIONS[attention_type](self.pose_channels)
        self.rgb_pretrained = rgb_pretrained
        self.pose_pretrained = pose_pretrained
        self.freeze_rgb = freeze_rgb
        self.freeze_pose = freeze_pose
        self.return_both_streams = return_both_streams
        self.rgb_backbone.requires_grad_(not freeze_rgb)
        self.pose_backbone.requires_grad_(not freeze_pose)
        self.init_weights()
        self.train()

    def init_weights(self) -> None:
        """Resets to the published initialisation, then loads the pretrained streams, if any."""
        self.rgb_backbone.init_weights()
        self.pose_backbone.init_weights()
        self.attention.init_weights()
        if self.rgb_pretrained is not None:
            load_pretrained(self.rgb_backbone, Path(self.rgb_pretrained), "rgb", EPAM)
        if self.pose_pretrained is not None:
            load_pretrained(self.pose_backbone, Path(self.pose_pretrained), "pose", EPAM)

    def published_names(self) -> Names:
        """The names of EPAM-Net's code."""
        return EPAM.backbone

    def train(self, mode: bool = True) -> EPAMBackbone:
        """Switches to training mode, except for frozen streams: their batch norms keep their statistics."""
        super().train(mode)
        keep_frozen({self.rgb_backbone: self.freeze_rgb, self.pose_backbone: self.freeze_pose})
        return self

    def forward(self, rgb: Tensor, pose: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, ...]:
        """Computes the features of a batch.

        Args:
            rgb: normalised frames (B, 3, T, H, W), float.
            pose: heatmaps (B, V, r * T, h, w), float, of the same instants.
            return_attention: whether to return the attention map too.

        Returns:
            (rgb features (B, 432, T, H / 32, W / 32), pose features (B, 216, r * T, h / 8, w / 8)), and the
            map (B, 1, T, H / 32, W / 32) with `return_attention`. With `return_both_streams=False` there are no
            pose features, and a single tensor is not wrapped in a tuple.

        Raises:
            ValueError: if the clips do not fit the network or each other.
        """
        ratio = frame_ratio(rgb, pose, self.rgb_backbone, self.pose_backbone)
        rgb_features: Tensor = self.rgb_backbone(rgb)
        pose_features: Tensor = self.pose_backbone(pose)
        attention: Tensor = self.attention(pose_features[:, :, ::ratio])
        attended = rgb_features + rgb_features * attention
        if self.return_both_streams:
            return (attended, pose_features, attention) if return_attention else (attended, pose_features)
        return (attended, attention) if return_attention else attended
