"""The recipe section `model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from epam_data.system.checked_fields import Factor, Share, check_fields

# Names allowed in a recipe: the keys of `table.NETWORKS`, `table.HEADS` and `epam.ATTENTIONS`. They are repeated here
# (a test compares them), so that reading a recipe does not import torch.
NetworkName = Literal["epam", "rgbpose_conv3d"]
HeadName = Literal["linear", "pcan"]
AttentionName = Literal["CBAM_spatial_efficient_temporal", "spatial_temporal"]
WITH_ATTENTION_MAP = ("epam",)
"""Networks that compute an attention map over the frames."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which network."""

    network: NetworkName = "epam"
    """`epam`: EPAM-Net; `rgbpose_conv3d`: RGBPoseConv3D."""
    streams: Literal["both", "rgb", "pose"] = "both"
    """`rgb` or `pose`: that stream alone."""
    attention_type: AttentionName = "CBAM_spatial_efficient_temporal"
    """EPAM-Net: the attention of the pose over the RGB features; `spatial_temporal` needs 16 RGB frames."""
    interaction: bool = True
    """RGBPoseConv3D: use PCAN's interaction between the streams."""
    head: HeadName = "linear"
    """`linear`: one classifier per stream; `pcan`: with coarse groups and prototypes."""
    dropout: Share = 0.5
    """Dropout probability of the pooled features."""
    rgb_rectification: Factor = 5.0
    """Head `pcan`: factor of the prototype similarity that evaluation adds to the RGB scores."""
    pose_rectification: Factor = 1.0
    """Head `pcan`: the same for the pose scores."""
    freeze_rgb: bool = False
    """Do not train the RGB stream: it keeps its weights and statistics."""
    freeze_pose: bool = False
    """Do not train the pose stream: it keeps its weights and statistics."""
    init_from: list[str] = field(default_factory=list)
    """Files of weights to start from, ours or foreign: of the whole network, or of single streams, in this order."""
    checkpoint_activations: bool = False
    """Recompute the activations of blocks in the backward pass: less memory, more time."""

    @property
    def has_attention_map(self) -> bool:
        """Whether the network computes an attention map over the frames."""
        return self.network in WITH_ATTENTION_MAP and self.streams == "both"

    def __post_init__(self) -> None:
        check_fields(self, "model")
        for name in ("freeze_rgb", "freeze_pose"):
            if getattr(self, name) and self.streams != "both":
                raise ValueError(f"model.{name} needs model.streams both, got {self.streams}")
