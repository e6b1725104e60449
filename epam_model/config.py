"""The sections of a recipe that belong to the model: `model` and `train` (`stream` is `StreamSettings`).

`epam_data.config` parses them: a recipe, overrides as `--train.lr 0.1`, unknown keys refused, `--help` from the lines
under the fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from epam_model.distributed import DEVICES
from epam_model.networks.epam import ATTENTIONS
from epam_model.networks.recogniser import build_epam
from epam_model.networks.single_stream import STREAMS, SingleStreamRecogniser


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which network."""

    streams: str = "both"
    """`both`: EPAM-Net; `rgb` or `pose`: that stream alone."""
    attention_type: str = "CBAM_spatial_efficient_temporal"
    """How the pose stream weights the RGB features: this, or `spatial_temporal` (for 16 RGB frames)."""
    dropout: float = 0.5
    """Probability of dropping a pooled feature in training."""
    freeze_rgb: bool = False
    """The RGB stream keeps its weights and statistics."""
    freeze_pose: bool = False
    """The pose stream keeps its weights and statistics."""
    rgb_pretrained: str | None = None
    """Start of the RGB stream: a checkpoint of training it alone, or a state dict of it."""
    pose_pretrained: str | None = None
    """The same for the pose stream."""

    def __post_init__(self) -> None:
        if self.streams not in ("both", *STREAMS):
            raise ValueError(f"model.streams must be one of both, {', '.join(STREAMS)}, got {self.streams!r}")
        if self.attention_type not in ATTENTIONS:
            raise ValueError(
                f"model.attention_type must be one of {', '.join(ATTENTIONS)}, got {self.attention_type!r}"
            )
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"model.dropout must be in 0..1, got {self.dropout}")
        for name in ("freeze_rgb", "freeze_pose", "rgb_pretrained", "pose_pretrained"):
            if getattr(self, name) and self.streams != "both":
                raise ValueError(f"model.{name} needs model.streams both, got {self.streams}")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained."""

    epochs: int = 80
    """Passes over the training split."""
    lr: float = 0.006
    """Learning rate at the end of the warm-up, for the global batch."""
    min_lr: float = 1e-6
    """Where the cosine ends."""
    warmup_epochs: float = 5.0
    """Epochs of linear warm-up; a fraction is allowed."""
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = False
    """Nesterov's momentum."""
    weight_decay: float = 2e-4
    """L2 penalty on all trained weights."""
    clip_norm: float = 40.0
    """Gradients are scaled down to this norm over all weights; 0 leaves them alone."""
    rgb_weight: float = 1.0
    """Factor of the RGB stream's cross-entropy."""
    pose_weight: float = 1.0
    """Factor of the pose stream's cross-entropy."""
    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over all classes."""
    shuffle_labels: bool = False
    """A control: training labels are permuted over the training set, by the seed; accuracy must stay near chance."""
    seed: int = 0
    """Of the weights, the order of the clips, augmentation and dropout."""
    sync_bn: bool = True
    """Batch norms see the clips of all ranks; on GPUs only, torch has none for the CPU."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    num_threads: int = 0
    """CPU threads of each rank; 0 leaves the choice to torch."""
    checkpoint_steps: int = 0
    """A checkpoint each so many steps, besides the one at the end of each epoch; 0: none besides."""
    log_steps: int = 20
    """A line of loss, learning rate and speed each so many steps."""

    def __post_init__(self) -> None:
        for name in ("epochs", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be >= 1, got {getattr(self, name)}")
        for name in ("seed", "num_threads", "checkpoint_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} must be >= 0, got {getattr(self, name)}")
        for name in ("min_lr", "weight_decay", "clip_norm", "rgb_weight", "pose_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"train.{name} must be >= 0, got {getattr(self, name)}")
        if not self.min_lr <= self.lr < float("inf"):
            raise ValueError(f"train.lr must be >= min_lr {self.min_lr}, got {self.lr}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(f"train.warmup_epochs must be in 0..{self.epochs} (epochs), got {self.warmup_epochs}")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be in 0..1 without 1, got {getattr(self, name)}")
        if self.nesterov and not self.momentum:
            raise ValueError("train.nesterov needs train.momentum > 0, got 0")
        if self.device not in DEVICES:
            raise ValueError(f"train.device must be one of {', '.join(DEVICES)}, got {self.device!r}")


def build_model(settings: ModelSettings, *, num_classes: int, num_joints: int, seed: int = 0) -> nn.Module:
    """The network of a recipe, its weights drawn by the seed.

    Args:
        settings: which network.
        num_classes: number of classes.
        num_joints: channels of the heatmaps.
        seed: of the weights. The same seed gives every rank the same ones.

    Raises:
        ValueError: a pretrained stream is absent or does not fit.
    """
    torch.manual_seed(seed)
    if settings.streams != "both":
        return SingleStreamRecogniser(settings.streams, num_classes, num_joints=num_joints, dropout=settings.dropout)
    return build_epam(
        num_classes,
        num_joints=num_joints,
        attention_type=settings.attention_type,
        dropout=settings.dropout,
        freeze_rgb=settings.freeze_rgb,
        freeze_pose=settings.freeze_pose,
        rgb_pretrained=settings.rgb_pretrained,
        pose_pretrained=settings.pose_pretrained,
    )
