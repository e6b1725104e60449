"""Training: SGD over exact epochs, evaluation after each, checkpoints from which a run goes on bit for bit."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from epam_data.index import load_index
from epam_data.randomness import Purpose, seed_number
from epam_data.stream import Batch, BatchFinisher, Stream, StreamSettings
from epam_model.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    check_same,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    shards_identity,
)
from epam_model.config import TrainSettings
from epam_model.distributed import Ranks, average_buffers, data_parallel, on_device, sum_over_ranks
from epam_model.evaluate import check_model_fits, evaluate
from epam_model.heads import prototype_banks
from epam_model.label_shuffle import relabel, shuffled_labels
from epam_model.metrics import best_name
from epam_model.objective import Objective
from epam_model.overlay import first_inputs
from epam_model.run_log import RunLog
from epam_model.schedule import learning_rate

# Recipe keys that decide which samples are still to come: a run goes on with the same ones only.
_ORDER = (
    *(("stream", name) for name in ("batch_size", "window_shards", "balance", "class_weights")),
    *(("train", name) for name in ("seed", "shuffle_labels")),
)


class Trainer:
    """One training run: its model, optimiser and place in the stream.

    Args:
        model: maps (rgb, pose) to `Logits`.
        shards: the shard directory; splits `train` and `val` are used.
        out: the run's folder: checkpoints and logs.
        stream: clips and batches.
        settings: the training.
        model_recipe: the recipe's `model` section, for the checkpoint.
        ranks: this process among all.

    Attributes:
        epoch, consumed: the place in the stream: epoch from 0, and how many of its samples all ranks have had.
        best, measures: the best measure so far, and all measures of the last evaluation.

    Raises:
        ValueError: model, shards and settings do not fit each other.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        shards: Path,
        out: Path,
        stream: StreamSettings,
        settings: TrainSettings,
        model_recipe: dict[str, Any],
        ranks: Ranks,
    ) -> None:
        self.settings, self.ranks, self.out = settings, ranks, out
        self.recipe = {"stream": asdict(stream), "model": model_recipe, "train": asdict(settings)}
        self.epoch, self.consumed = 0, 0
        self.best: float | None = None
        self.measures: dict[str, float] = {}
        if settings.num_threads:
            torch.set_num_threads(settings.num_threads)

        on_gpu = ranks.device.type == "cuda"
        common = {"settings": stream, "rank": ranks.rank, "world": ranks.world, "pin_memory": on_gpu}
        self._train_stream = Stream(shards, split="train", training=True, seed=settings.seed, **common)  # type: ignore[arg-type]
        self._val_stream = Stream(shards, split="val", training=False, **common)  # type: ignore[arg-type]
        self.manifest = self._train_stream.manifest
        self._labels = training_labels(shards, self._train_stream, settings)
        self._finisher = BatchFinisher.for_shards(self.manifest).to(ranks.device)

        self.model = on_device(model, ranks, sync_bn=settings.sync_bn)
        self._objective = Objective(settings.loss, self.manifest.coarse_of).to(ranks.device)
        self._banks = prototype_banks(self.model)
        self._parallel = self.model  # what a step calls; in `fit` it averages gradients over ranks
        check_model_fits(self.model, self._train_stream, ranks.device)
        if self._val_stream.clip_sizes_px != self._train_stream.clip_sizes_px:
            check_model_fits(self.model, self._val_stream, ranks.device)
        self._weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.SGD(
            self._weights,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )

    @property
    def step(self) -> int:
        """Optimiser steps so far."""
        return self.epoch * len(self._train_stream) + self.consumed // self._train_stream.settings.batch_size

    def fit(self, *, resume: bool = False) -> dict[str, float]:
        """Train to the last epoch.

        Args:
            resume: go on from `last.pt` in the run's folder; False starts a new run there.

        Returns:
            The measures of the last evaluation.

        Raises:
            ValueError: there is nothing to go on from, or it was another run; or a new run would overwrite one.
            FloatingPointError: the loss or its gradient is not finite; the clips of the batch are named.
        """
        changes = self._resume() if resume else self._check_empty()
        self._parallel = data_parallel(self.model, self.ranks)
        try:
            with RunLog(self.out, is_main=self.ranks.is_main, resumed_at=self.step if resume else None) as log:
                if not resume and self.ranks.is_main:
                    log.pictures(first_inputs(self._train_stream, self._finisher), step=self.step)
                for change in changes:
                    log.line(f"resume: {change}")
                while self.epoch < self.settings.epochs:
                    self._train_epoch(log)
                    self._end_epoch(log)
        finally:
            self._parallel = self.model  # lets go of DDP, and with it of the process group
            for stream in (self._train_stream, self._val_stream):
                stream.close()
        return self.measures

    def _train_epoch(self, log: RunLog) -> None:
        stream, settings = self._train_stream, self.settings
        batch_size = stream.settings.batch_size
        log.open_bar(self.epoch + 1, done=self.consumed // batch_size, total=len(stream))
        self._parallel.train()
        clock = time.perf_counter()
        logged = self.step
        for batch in stream.epoch(self.epoch, consumed=self.consumed):
            values = self._take_step(batch)
            self.consumed += batch_size
            log.advance_bar()
            place = (self.consumed // batch_size, len(stream))
            if self.step % settings.log_steps == 0 or place[0] == place[1]:
                named = dict(zip(values, self._mean_over_ranks(values), strict=True))
                seconds, clock = time.perf_counter() - clock, time.perf_counter()
                named["clips_per_second"] = (self.step - logged) * batch_size / seconds
                logged = self.step
                log.values("train", named, epoch=self.epoch + 1, place=place, step=self.step)
            due = settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0
            if due and place[0] < place[1]:
                self._save(LAST)
        log.close_bar()

    def _take_step(self, batch: Batch) -> dict[str, Tensor]:
        """One optimiser step on this rank's part of the batch; returns what is worth logging, as scalars."""
        settings = self.settings
        torch.manual_seed(step_seed(settings.seed, self.step, self.ranks.rank))
        if settings.shuffle_labels:
            batch = relabel(batch, self._labels, self.manifest.coarse_of)
        batch = batch.to(self.ranks.device)
        rate = self._set_learning_rate()
        losses = self._objective(
            self._parallel(*self._finisher(batch)),
            batch.label,
            {name: bank.prototypes for name, bank in self._banks.items()},
        )
        loss = losses.total
        self._optimizer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self._weights, settings.clip_norm or float("inf"))
        if not torch.isfinite(loss.detach() + grad_norm):  # before the step, so that the weights stay whole
            raise FloatingPointError(
                f"step {self.step}: loss {loss.item()}, gradient norm {grad_norm.item()}; the batch holds "
                + ", ".join(batch.keys)
            )
        self._optimizer.step()
        for name, prototypes in losses.prototypes.items():
            self._banks[name].remember(prototypes)
        values = {"lr": torch.tensor(rate, dtype=torch.float64), "loss": loss, **losses.terms, "grad_norm": grad_norm}
        return {name: value.detach() for name, value in values.items()}

    def _set_learning_rate(self) -> float:
        settings, steps = self.settings, len(self._train_stream)
        rate = learning_rate(
            self.step,
            total_steps=settings.epochs * steps,
            warmup_steps=round(settings.warmup_epochs * steps),
            peak=settings.lr,
            minimum=settings.min_lr,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _mean_over_ranks(self, values: dict[str, Tensor]) -> list[float]:
        stacked = torch.stack([value.to(self.ranks.device, torch.float64) for value in values.values()])
        means: list[float] = (sum_over_ranks(stacked) / self.ranks.world).tolist()
        return means

    def _end_epoch(self, log: RunLog) -> None:
        average_buffers(self.model)
        self.measures = evaluate(self.model, self._val_stream, self._finisher, self.ranks.device)
        score = self.measures[best_name(self.measures)]
        place = (len(self._train_stream), len(self._train_stream))
        log.values("val", self.measures, epoch=self.epoch + 1, place=place, step=self.step)
        self.epoch, self.consumed = self.epoch + 1, 0
        # The best is saved first: a run that is killed in between evaluates again, and saves it again.
        if self.best is None or score > self.best:
            self.best = score
            self._save(BEST)
            log.line(f"best checkpoint: {best_name(self.measures)} {score:.4f} at epoch {self.epoch}, saved as {BEST}")
        self._save(LAST)

    def _save(self, name: str) -> None:
        average_buffers(self.model)
        if not self.ranks.is_main:
            return
        checkpoint = Checkpoint(
            weights=self.model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            epoch=self.epoch,
            consumed=self.consumed,
            shards=shards_identity(self.manifest),
            recipe=self.recipe,
            best=self.best,
            measures=self.measures,
        )
        save_checkpoint(self.out / name, checkpoint)

    def _resume(self) -> list[str]:
        """Go to where `last.pt` was; returns which settings have changed since."""
        path = self.out / LAST
        checkpoint = load_checkpoint(path)
        check_same(checkpoint, str(path), self.manifest, self.recipe["model"])
        if checkpoint.shards["index_sha256"] != self.manifest.index_sha256:
            raise ValueError(f"{path}: cannot go on: the shards were built anew since")
        defaults = {"stream": asdict(StreamSettings()), "train": asdict(TrainSettings())}
        for section, name in _ORDER:
            # A checkpoint that is older than a key was trained as its default says.
            before = checkpoint.recipe[section].get(name, defaults[section][name])
            now = self.recipe[section][name]
            if before != now:
                raise ValueError(f"{path}: cannot go on: {section}.{name} was {before}, is now {now}")
        load_weights(self.model, checkpoint.weights, str(path))
        groups = self._optimizer.state_dict()["param_groups"]
        trained = [len(group["params"]) for group in checkpoint.optimizer["param_groups"]]
        if trained != [len(group["params"]) for group in groups]:
            raise ValueError(f"{path}: cannot go on: other weights were trained (model.freeze_rgb or freeze_pose)")
        # The state is the momentum; learning rate and weight decay are what the recipe now says.
        self._optimizer.load_state_dict({"state": checkpoint.optimizer["state"], "param_groups": groups})
        self.epoch, self.consumed = checkpoint.epoch, checkpoint.consumed
        self.best, self.measures = checkpoint.best, checkpoint.measures
        return [
            f"{section}.{name} was {checkpoint.recipe[section].get(name)}, is now {value}"
            for section, values in self.recipe.items()
            for name, value in values.items()
            if checkpoint.recipe[section].get(name) != value
        ]

    def _check_empty(self) -> list[str]:
        if (self.out / LAST).exists():
            raise ValueError(f"{self.out}: holds a run already; go on with --resume, or give another --out")
        return []


def training_labels(shards: Path, stream: Stream, settings: TrainSettings) -> dict[str, int]:
    """The label of each training clip to use in place of its own: empty unless `shuffle_labels` asks for it.

    Raises:
        ValueError: a training clip has no label, or no evaluation clip has one.
    """
    manifest, index = stream.manifest, load_index(shards)
    splits = np.array([shard.split for shard in manifest.shards])[index.shard]
    hidden = index.keys[(splits == "train") & (index.label < 0)]
    if len(hidden):
        raise ValueError(f"{shards}: training needs labels, that of {hidden[0].decode()} is hidden")
    if (index.label[splits == "val"] < 0).all():
        raise ValueError(f"{shards}: every label of val is hidden: nothing tells the best checkpoint")
    if index.label.max() >= len(manifest.classes):
        raise ValueError(f"{shards}: a label is {index.label.max()}, the shards have {len(manifest.classes)} classes")
    return shuffled_labels(manifest, index, "train", settings.seed) if settings.shuffle_labels else {}


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of torch's generators for one step (dropout): a run that goes on draws what it would have drawn."""
    return seed_number(Purpose.TRAINING_STEP, seed, step, rank)
