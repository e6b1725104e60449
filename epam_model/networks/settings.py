"""The recipe section `model`."""

from __future__ import annotations

from dataclasses import dataclass, field

# Names allowed in a recipe: the keys of `table.NETWORKS`, `table.HEADS` and `epam.ATTENTIONS`. They are repeated here
# (a test compares them), so that reading a recipe does not import torch.
NETWORK_NAMES = ("epam", "rgbpose_conv3d")
HEAD_NAMES = ("linear", "pcan")
ATTENTION_NAMES = ("CBAM_spatial_efficient_temporal", "spatial_temporal")
WITH_ATTENTION_MAP = ("epam",)
"""Networks that compute an attention map over the frames."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which network."""

    network: str = "epam"
    """`epam`: EPAM-Net; `rgbpose_conv3d`: RGBPoseConv3D."""
    streams: str = "both"
    """`both`, or `rgb` or `pose`: that stream alone."""
    attention_type: str = "CBAM_spatial_efficient_temporal"
    """EPAM-Net: the attention of the pose over the RGB features: this, or `spatial_temporal` (for 16 RGB frames)."""
    interaction: bool = True
    """RGBPoseConv3D: use PCAN's interaction between the streams."""
    head: str = "linear"
    """`linear`: one classifier per stream; `pcan`: with coarse groups and prototypes."""
    dropout: float = 0.5
    """Dropout probability of the pooled features."""
    rgb_rectification: float = 5.0
    """Head `pcan`: factor of the prototype similarity that evaluation adds to the RGB scores."""
    pose_rectification: float = 1.0
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
        for name, allowed in (
            ("network", NETWORK_NAMES),
            ("streams", ("both", "rgb", "pose")),
            ("attention_type", ATTENTION_NAMES),
            ("head", HEAD_NAMES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"model.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"model.dropout must be in 0..1, got {self.dropout}")
        for name in ("rgb_rectification", "pose_rectification"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"model.{name} must be >= 0, got {getattr(self, name)}")
        for name in ("freeze_rgb", "freeze_pose"):
            if getattr(self, name) and self.streams != "both":
                raise ValueError(f"model.{name} needs model.streams both, got {self.streams}")
