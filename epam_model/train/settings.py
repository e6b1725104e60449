"""The recipe section `train`. `epam_data.recipe` parses it; the lines under the fields are the text of `--help`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from epam_data.system.checked_fields import BelowOne, Factor, Seconds, Seed, check_fields
from epam_model.losses.settings import LossSettings
from epam_model.ranks.device import Device
from epam_model.train.schedule import Schedule

Precision = Literal["fp32", "bf16", "fp16"]
"""The keys of `gradient_step.DTYPES`, without importing torch."""


@dataclass(frozen=True, kw_only=True)
class LearningRateFactors:
    """Factors of the learning rate, by part of the network."""

    rgb: Factor = 1.0
    """For the RGB stream."""
    pose: Factor = 1.0
    """For the pose stream."""
    joint: Factor = 1.0
    """For what joins the streams: attention, lateral connections, interaction."""
    head: Factor = 1.0
    """For the classifiers and their embeddings."""

    def __post_init__(self) -> None:
        check_fields(self, "train.lr_factors")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained."""

    epochs: Annotated[int, Interval(ge=1, le=1_000_000)] = 80
    """Passes over the training split."""
    lr: float = 0.006
    """Learning rate at the end of the warm-up, for the global batch."""
    lr_factors: LearningRateFactors = field(default_factory=LearningRateFactors)
    schedule: Schedule = "cosine"
    """`cosine`: from lr down to min_lr, per step; `multistep`: times gamma at each milestone; `constant`."""
    min_lr: Factor = 1e-6
    """Learning rate at the end of the cosine."""
    milestones: tuple[float, ...] = ()
    """Epochs after which `multistep` lowers the rate, such as 20 40."""
    gamma: Factor = 0.1
    """Factor on the rate at each milestone."""
    warmup_epochs: float = 5.0
    """Epochs of linear warm-up; a fraction is allowed."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser."""
    momentum: BelowOne = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Use Nesterov's momentum with SGD."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Of AdamW: decay rates of the running means of gradients and of their squares."""
    weight_decay: Factor = 2e-4
    """On all trained weights: an L2 penalty with SGD, decoupled with AdamW."""
    clip_norm: Factor = 40.0
    """Largest norm of the gradient over all weights; longer gradients are scaled down. 0: no limit."""
    accumulate: Annotated[int, Interval(ge=1, le=1_000_000)] = 1
    """Parts in which a rank computes its share of a batch, adding up their gradients: the same batch in less memory.
    Batch norms and prototypes see one part at a time."""
    precision: Precision = "fp32"
    """`fp32`; `bf16` or `fp16`: mixed precision, fp16 with its loss scaled. Weights and losses stay float32."""
    compile: bool = False
    """Compile the network with torch.compile: the first steps take minutes, later ones are faster."""
    ema_decay: BelowOne = 0.0
    """Decay of an exponential moving average of the weights, such as 0.999; the average is then evaluated, and restored
    from checkpoints. 0: none."""
    loss: LossSettings = field(default_factory=LossSettings)
    max_skipped_steps: Annotated[int, Ge(0)] = 0
    """Steps to skip because loss or gradient is not finite; one more stops the run."""
    shuffle_labels: bool = False
    """Shuffle the training labels over the training set, as a control: accuracy must stay near chance."""
    seed: Seed = 0
    """Seed of the weights, the order of the clips, augmentation and dropout."""
    best_by: str = ""
    """Measure of val that decides which checkpoint is best, such as top1_pose; empty: fused top-1 if there is one."""
    patience: Annotated[int, Ge(0)] = 0
    """Stop after this many epochs without a new best; 0: never."""
    keep_last: Annotated[int, Ge(1)] = 3
    """Checkpoints to keep besides the best: if the last is damaged, the run continues from the one before."""
    checkpoint_steps: Annotated[int, Ge(0)] = 0
    """Steps between checkpoints within an epoch; 0: only at the end of each epoch."""
    log_steps: Annotated[int, Ge(1)] = 20
    """Steps between log lines."""
    sync_bn: bool = True
    """Batch norms use the clips of all ranks."""
    device: Device = "auto"
    """Device; `auto`: a GPU if there is one."""
    num_threads: Annotated[int, Interval(ge=0, le=10_000)] = 0
    """CPU threads per rank; 0: torch decides."""
    timeout_seconds: Seconds = 600.0
    """Seconds a rank waits for the others before failing."""

    def __post_init__(self) -> None:
        check_fields(self, "train")
        lowest = self.min_lr if self.schedule == "cosine" else 0.0
        if not lowest <= self.lr < float("inf"):
            raise ValueError(f"train.lr must be >= min_lr {lowest}, got {self.lr}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(
                f"train.warmup_epochs must be in 0..{self.epochs} (epochs), got {self.warmup_epochs}; "
                "fewer epochs need a shorter warm-up"
            )
        if (self.schedule == "multistep") != bool(self.milestones):
            raise ValueError(
                f"train.milestones belong to train.schedule multistep, got {self.milestones} and {self.schedule}"
            )
        if list(self.milestones) != sorted(set(self.milestones)) or not all(0 < m < math.inf for m in self.milestones):
            raise ValueError(f"train.milestones must be epochs > 0 that rise, got {self.milestones}")
        if self.nesterov and not self.momentum:
            raise ValueError("train.nesterov needs train.momentum > 0, got 0")
