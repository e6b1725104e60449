"""One optimiser step on one batch: losses, gradients over all ranks, clipping; a step that is not finite is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from epam_data.randomness import Purpose, seed_number
from epam_model.losses.objective import Objective, total
from epam_model.ranks.distributed import Ranks, any_rank, data_parallel
from epam_model.train.optimizer import load_optimizer_state, make_optimizer, set_learning_rate
from epam_model.train.settings import TrainSettings
from epam_model.train.weight_average import WeightAverage
from epam_model.weights.checkpoint import Checkpoint

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""`train.precision` -> the autocast type; None: the type of the weights."""
_LOWEST_SCALE = 1.0
"""Lowest scale of the fp16 loss: if gradients still overflow, fp16 is not the reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StepResult:
    """The result of a step."""

    values: dict[str, Tensor]  # scalars of this rank, to log: lr, loss, its terms, grad_norm
    is_finite: bool  # False: loss or gradient of a rank is not finite, so nothing was changed
    stop: bool  # whether any rank was asked to stop


class GradientStep:
    """Trains a model batch by batch.

    Args:
        model: maps (rgb, pose) to `Logits`; on the device.
        objective: the loss; on the device.
        settings: the `train` section.
        ranks: this process.

    Attributes:
        optimizer, scaler: torch's optimiser and loss scaler; a checkpoint needs their states.
        average: the mean of the weights; None: the recipe keeps none.
    """

    def __init__(self, model: nn.Module, objective: Objective, *, settings: TrainSettings, ranks: Ranks) -> None:
        self.model, self.objective, self.settings, self.ranks = model, objective, settings, ranks
        self.optimizer = make_optimizer(model, settings)
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=settings.precision == "fp16")
        self.average = WeightAverage(model, settings.ema_decay) if settings.ema_decay else None
        self._weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        self._called = model  # the module that a step calls; in `together` it averages gradients over ranks
        self._parallel: DistributedDataParallel | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, gradients are means over ranks, and the network is compiled if `train.compile` is set."""
        called = data_parallel(self.model, self.ranks)
        self._parallel = called if isinstance(called, DistributedDataParallel) else None
        self._called = torch.compile(called) if self.settings.compile else called  # type: ignore[assignment]
        try:
            yield
        finally:
            self._called, self._parallel = self.model, None  # releases DDP, and with it the process group

    def checkpoint_bytes(self) -> int:
        """About the size of a checkpoint: the weights, their mean, and the optimiser's moments."""
        copies = 1 + (self.average is not None) + (1 if isinstance(self.optimizer, torch.optim.SGD) else 2)
        return copies * sum(tensor.nbytes for tensor in (*self.model.parameters(), *self.model.buffers()))

    def load(self, checkpoint: Checkpoint, what: str) -> None:
        """Restore the optimiser, the mean of the weights and the loss scale from a checkpoint.

        Args:
            checkpoint: of a run with the same recipe.
            what: its file, for the message.

        Raises:
            ValueError: the optimiser was of another kind, or other weights were trained.
        """
        load_optimizer_state(self.optimizer, checkpoint.optimizer, what)
        if self.average is not None and checkpoint.averaged is not None:
            self.average.load(checkpoint.averaged, what)
        if checkpoint.scaler:
            try:
                self.scaler.load_state_dict(checkpoint.scaler)
            except (KeyError, TypeError, RuntimeError) as error:
                raise ValueError(f"{what}: cannot resume, the state of the loss scaler is damaged") from error

    def take(self, rgb: Tensor, pose: Tensor, labels: Tensor, *, rate: float, stop: bool) -> StepResult:
        """Take a step on this rank's part of a batch, unless the loss or gradient of any rank is not finite.

        Args:
            rgb: (B, 3, T, H, W) float.
            pose: (B, V, T', h, w) float.
            labels: (B,) int64.
            rate: the learning rate.
            stop: whether this rank was asked to stop; the result says so on all ranks.
        """
        rates = set_learning_rate(self.optimizer, rate, self.settings)
        before = self._statistics() if self.settings.max_skipped_steps else []
        self.optimizer.zero_grad()
        terms = self._backward(rgb, pose, labels)
        loss = total(terms)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self._weights, self.settings.clip_norm or float("inf"))
        # The only point of a step where ranks, and CPU and GPU, wait for each other.
        lost, overflowed, stop = any_rank([~loss.isfinite(), ~norm.isfinite(), stop], self.ranks.device)
        scaling = self.scaler.is_enabled() and overflowed and not lost and self.scaler.get_scale() > _LOWEST_SCALE
        is_finite = scaling or not (lost or overflowed)
        if is_finite:
            self.scaler.step(self.optimizer)  # with fp16, it skips if a gradient overflowed: the scale is too high
        taken = is_finite and not overflowed
        self.objective.end_step(taken)
        if taken and self.average is not None:
            self.average.update(self.model)
        if not is_finite:
            for buffer, value in before:
                buffer.copy_(value)
        self.scaler.update()
        logged = {name: torch.tensor(value, dtype=torch.float64) for name, value in rates.items()}
        return StepResult(values={**logged, "loss": loss, **terms, "grad_norm": norm}, is_finite=is_finite, stop=stop)

    def _backward(self, rgb: Tensor, pose: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Accumulate the gradients of all parts of the batch; returns the mean loss terms."""
        num_parts = self.settings.accumulate
        means: dict[str, Tensor] = {}
        for part, clips in enumerate(zip(rgb.chunk(num_parts), pose.chunk(num_parts), strict=True)):
            own_labels = labels.chunk(num_parts)[part]
            with self._unsynchronised() if part < num_parts - 1 else nullcontext():
                with self._autocast():
                    logits = self._called(*clips)
                terms = self.objective.terms(logits, own_labels)
                self.scaler.scale(total(terms) / num_parts).backward()  # type: ignore[no-untyped-call]
            for name, term in terms.items():
                means[name] = means.get(name, 0) + term.detach() / num_parts
        return means

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = DTYPES[self.settings.precision]
        return nullcontext() if dtype is None else torch.autocast(self.ranks.device.type, dtype)

    def _unsynchronised(self) -> AbstractContextManager[object]:
        """Keeps gradients on this rank; they are averaged over ranks with those of the last part."""
        return nullcontext() if self._parallel is None else self._parallel.no_sync()

    def _statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Buffers with copies of their values, since a forward pass changes the statistics of batch norms."""
        return [(buffer, buffer.clone()) for buffer in self.model.buffers()]


def step_seed(seed: int, step: int) -> int:
    """The seed of torch's generators for one step (dropout), so that a resumed run draws the same numbers.

    It is the same on all ranks, see `RanksDropout`.
    """
    return seed_number(Purpose.TRAINING_STEP, seed, step)
