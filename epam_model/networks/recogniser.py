"""Backbone and head of two streams: clips in, logits out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from epam_model.networks.epam import EPAMBackbone
from epam_model.networks.heads import Head, Logits, TwoStreamHead
from epam_model.networks.published_weights import PublishedWeights
from epam_model.networks.two_streams import TwoStreamBackbone
from epam_model.weights.published_names import Names, PublishedNames


class TwoStreamRecogniser(PublishedWeights):
    """A two-stream backbone and its head.

    Args:
        backbone: maps (rgb, pose) clips to the pair (rgb features, pose features).
        head: maps that pair to `Logits`.

    Raises:
        ValueError: if the backbone returns only the RGB features (`return_both_streams=False`).
    """

    def __init__(self, backbone: TwoStreamBackbone, head: Head) -> None:
        super().__init__()
        if not getattr(backbone, "return_both_streams", True):
            raise ValueError("backbone must have return_both_streams=True, got False")
        self.backbone = backbone
        self.head = head

    @property
    def module_parts(self) -> Mapping[str, str]:
        """Submodule -> part of the network, for `train.lr_factors`."""
        return {f"backbone.{name}": part for name, part in self.backbone.module_parts.items()} | {"head": "head"}

    def published_names(self) -> Names:
        """The names of the network's authors and of MMAction2; none for a network without published weights."""
        published = getattr(self.backbone, "published", None)
        return published.recogniser() if isinstance(published, PublishedNames) else {}

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        """Classifies clips: rgb (B, 3, T, H, W) and pose (B, V, T', h, w), float."""
        rgb_features, pose_features = self.backbone(rgb, pose)
        logits: Logits = self.head(rgb_features, pose_features)
        return logits


def build_epam(
    num_classes: int,
    *,
    num_joints: int = 17,
    attention_type: str = "CBAM_spatial_efficient_temporal",
    dropout: float = 0.5,
    freeze_rgb: bool = False,
    freeze_pose: bool = False,
    num_coarse_classes: int = 0,
    rgb_pretrained: str | Path | None = None,
    pose_pretrained: str | Path | None = None,
) -> TwoStreamRecogniser:
    """Builds EPAM-Net with one classifier per stream.

    Args:
        num_classes: number of classes.
        num_joints: joints of the heatmaps.
        attention_type: see `EPAMBackbone`.
        dropout: of the head.
        freeze_rgb: see `EPAMBackbone`.
        freeze_pose: see `EPAMBackbone`.
        num_coarse_classes: see `TwoStreamHead`; 0: plain classifiers.
        rgb_pretrained: see `EPAMBackbone`.
        pose_pretrained: see `EPAMBackbone`.

    Raises:
        ValueError: as `EPAMBackbone` and `TwoStreamHead` do.
    """
    backbone = EPAMBackbone(
        rgb_pretrained=rgb_pretrained,
        pose_pretrained=pose_pretrained,
        attention_type=attention_type,
        freeze_rgb=freeze_rgb,
        freeze_pose=freeze_pose,
        num_joints=num_joints,
    )
    head = TwoStreamHead(
        num_classes, backbone.rgb_channels, backbone.pose_channels, dropout, num_coarse_classes=num_coarse_classes
    )
    return TwoStreamRecogniser(backbone, head)
