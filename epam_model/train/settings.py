"""The sections of a recipe that belong to the model: `model` and `train` (`stream` is `StreamSettings`).

`epam_data.recipe` parses them: a recipe, overrides as `--train.lr 0.1`, unknown keys refused, `--help` from the lines
under the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from epam_model.losses.settings import LossSettings
from epam_model.ranks.launch import DEVICES
from epam_model.train.schedule import SCHEDULES

OPTIMIZERS = ("sgd", "adamw")
PRECISIONS = ("fp32", "bf16", "fp16")
"""The keys of `gradient_step.DTYPES`, without importing torch."""


@dataclass(frozen=True, kw_only=True)
class LearningRateFactors:
    """Factors on the learning rate, by part of the network."""

    rgb: float = 1.0
    """Of the RGB stream."""
    pose: float = 1.0
    """Of the pose stream."""
    joint: float = 1.0
    """Of what joins the streams: attention, lateral connections, interaction."""
    head: float = 1.0
    """Of the classifiers and their embeddings."""

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"train.lr_factors.{name} must be >= 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained."""

    epochs: int = 80
    """Passes over the training split."""
    lr: float = 0.006
    """Learning rate at the end of the warm-up, for the global batch."""
    lr_factors: LearningRateFactors = field(default_factory=LearningRateFactors)
    schedule: str = "cosine"
    """`cosine`: from lr down to min_lr, step by step; `multistep`: times gamma at each milestone; `constant`."""
    min_lr: float = 1e-6
    """Where the cosine ends."""
    milestones: tuple[float, ...] = ()
    """Epochs behind which `multistep` lowers the rate, such as 20 40."""
    gamma: float = 0.1
    """Factor of each milestone."""
    warmup_epochs: float = 5.0
    """Epochs of linear warm-up; a fraction is allowed."""
    optimizer: str = "sgd"
    """`sgd`, or `adamw`."""
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = False
    """Nesterov's momentum."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW: how much of the mean of gradients, and of their squares, a step keeps."""
    weight_decay: float = 2e-4
    """On all trained weights: of SGD an L2 penalty, of AdamW decoupled."""
    clip_norm: float = 40.0
    """Gradients are scaled down to this norm over all weights; 0 leaves them alone."""
    accumulate: int = 1
    """A rank computes its share of a batch in so many parts, whose gradients add up: the same batch in less memory.
    Batch norms and prototypes see one part at a time."""
    precision: str = "fp32"
    """`fp32`; `bf16` or `fp16`: mixed precision, fp16 with its loss scaled. Weights and losses stay float32."""
    compile: bool = False
    """torch.compile the network: the first steps take minutes, the others less time."""
    ema_decay: float = 0.0
    """Keep a mean of the weights, of which a step keeps this share (0.999); it is what is evaluated and restored from
    checkpoints. 0: none."""
    loss: LossSettings = field(default_factory=LossSettings)
    max_skipped_steps: int = 0
    """Steps whose loss or gradient is not finite are skipped, up to so many; the next one stops the run."""
    shuffle_labels: bool = False
    """A control: training labels are permuted over the training set, by the seed; accuracy must stay near chance."""
    seed: int = 0
    """Of the weights, the order of the clips, augmentation and dropout."""
    best_by: str = ""
    """The measure of val that the best checkpoint goes by, such as top1_pose; empty: fused top-1 if there is one."""
    patience: int = 0
    """Stop after so many epochs without a new best; 0: never."""
    keep_last: int = 3
    """Checkpoints to keep besides the best: should the last be damaged, a run goes on from the one before."""
    checkpoint_steps: int = 0
    """A checkpoint each so many steps, besides the one at the end of each epoch; 0: none besides."""
    log_steps: int = 20
    """A line of loss, learning rate and speed each so many steps."""
    sync_bn: bool = True
    """Batch norms see the clips of all ranks."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    num_threads: int = 0
    """CPU threads of each rank; 0 leaves the choice to torch."""
    timeout_seconds: float = 600.0
    """A rank that waits for another for so long ends with an error."""

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate", "keep_last", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be >= 1, got {getattr(self, name)}")
        for name in ("seed", "num_threads", "checkpoint_steps", "patience", "max_skipped_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} must be >= 0, got {getattr(self, name)}")
        for name in ("min_lr", "weight_decay", "clip_norm", "gamma"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"train.{name} must be >= 0, got {getattr(self, name)}")
        choices = {"schedule": SCHEDULES, "optimizer": OPTIMIZERS, "precision": PRECISIONS, "device": DEVICES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"train.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not 0 < self.timeout_seconds < float("inf"):
            raise ValueError(f"train.timeout_seconds must be > 0, got {self.timeout_seconds}")
        self._check_rates()

    def _check_rates(self) -> None:
        lowest = self.min_lr if self.schedule == "cosine" else 0.0
        if not lowest <= self.lr < float("inf"):
            raise ValueError(f"train.lr must be >= min_lr {lowest}, got {self.lr}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(
                f"train.warmup_epochs must be in 0..{self.epochs} (epochs), got {self.warmup_epochs}; "
                "fewer epochs want a shorter warm-up"
            )
        if (self.schedule == "multistep") != bool(self.milestones):
            raise ValueError(
                f"train.milestones belong to train.schedule multistep, got {self.milestones} and {self.schedule}"
            )
        if list(self.milestones) != sorted(set(self.milestones)) or not all(m > 0 for m in self.milestones):
            raise ValueError(f"train.milestones must be epochs > 0 that rise, got {self.milestones}")
        for name, value in (("momentum", self.momentum), ("ema_decay", self.ema_decay)):
            if not 0 <= value < 1:
                raise ValueError(f"train.{name} must be in 0..1 without 1, got {value}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"train.betas must be in 0..1 without 1, got {self.betas}")
        if self.nesterov and not self.momentum:
            raise ValueError("train.nesterov needs train.momentum > 0, got 0")
