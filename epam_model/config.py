"""The sections of a recipe that belong to the model: `model` and `train` (`stream` is `StreamSettings`).

`epam_data.config` parses them: a recipe, overrides as `--train.lr 0.1`, unknown keys refused, `--help` from the lines
under the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from epam_model.distributed import DEVICES
from epam_model.networks.epam import ATTENTIONS
from epam_model.objective import LossSettings

NETWORKS = ("epam", "rgbpose_conv3d")
HEADS = ("linear", "pcan")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which network."""

    network: str = "epam"
    """`epam`: EPAM-Net; `rgbpose_conv3d`: RGBPoseConv3D."""
    streams: str = "both"
    """`both`, or `rgb` or `pose`: that stream alone."""
    attention_type: str = "CBAM_spatial_efficient_temporal"
    """EPAM-Net: how the pose weights the RGB features: this, or `spatial_temporal` (for 16 RGB frames)."""
    interaction: bool = True
    """RGBPoseConv3D: PCAN's interaction between the streams."""
    head: str = "linear"
    """`linear`: one classifier per stream; `pcan`: with coarse groups and prototypes."""
    dropout: float = 0.5
    """Probability of dropping a pooled feature in training."""
    rgb_rectification: float = 5.0
    """Head `pcan`: factor of the prototype similarity that evaluation adds to the RGB scores."""
    pose_rectification: float = 1.0
    """Head `pcan`: the same for the pose scores."""
    freeze_rgb: bool = False
    """The RGB stream keeps its weights and statistics."""
    freeze_pose: bool = False
    """The pose stream keeps its weights and statistics."""
    init_from: list[str] = field(default_factory=list)
    """Weights to start from, ours or foreign: of the whole network, or of streams alone, one after another."""
    checkpoint_activations: bool = False
    """Training computes the activations of blocks again in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("network", NETWORKS),
            ("streams", ("both", "rgb", "pose")),
            ("attention_type", tuple(ATTENTIONS)),
            ("head", HEADS),
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
    loss: LossSettings = field(default_factory=LossSettings)
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
        for name in ("min_lr", "weight_decay", "clip_norm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"train.{name} must be >= 0, got {getattr(self, name)}")
        if not self.min_lr <= self.lr < float("inf"):
            raise ValueError(f"train.lr must be >= min_lr {self.min_lr}, got {self.lr}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(f"train.warmup_epochs must be in 0..{self.epochs} (epochs), got {self.warmup_epochs}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"train.momentum must be in 0..1 without 1, got {self.momentum}")
        if self.nesterov and not self.momentum:
            raise ValueError("train.nesterov needs train.momentum > 0, got 0")
        if self.device not in DEVICES:
            raise ValueError(f"train.device must be one of {', '.join(DEVICES)}, got {self.device!r}")
