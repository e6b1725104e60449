"""Training: exact epochs, an evaluation after each, checkpoints from which a run resumes bit for bit."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epam_data.stream import Batch, BatchFinisher, StreamSettings
from epam_model.evaluate.damage_report import damage_report
from epam_model.evaluate.predict import check_model_fits, evaluate
from epam_model.losses.objective import OBJECTIVES
from epam_model.ranks.distributed import Ranks, any_rank, average_buffers, gather, on_main, sum_over_ranks
from epam_model.ranks.sync_batch_norm import synchronise_batch_norms
from epam_model.reports.overlay import first_inputs
from epam_model.reports.run_log import RunLog
from epam_model.train.best import Best, check_metric, metric_name
from epam_model.train.gradient_step import GradientStep, StepResult, step_seed
from epam_model.train.label_shuffle import relabel, training_labels
from epam_model.train.not_finite import write_not_finite
from epam_model.train.optimizer import optimizer_state
from epam_model.train.pace import Pace
from epam_model.train.preemption import StopRequest
from epam_model.train.resume import changed_settings, check_can_resume
from epam_model.train.run_folder import RunFolder, best_file
from epam_model.train.schedule import learning_rate
from epam_model.train.settings import TrainSettings
from epam_model.train.streams import open_streams
from epam_model.weights.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    recipe_section,
    shards_identity,
)


class Trainer:
    """One training run: its model, optimiser and progress in the stream.

    Args:
        model: maps (rgb, pose) to `Logits`, and names its parts (`networks.two_streams.HasParts`).
        shards: the shard directory, or its URL; splits `train` and `val` are used.
        out: the run folder, for checkpoints and logs.
        stream: the `stream` section.
        settings: the `train` section.
        model_recipe: the recipe's `model` section, for the checkpoint; its `head` selects the objective.
        ranks: this process.

    Attributes:
        epoch, consumed: the position in the stream: epoch from 0, and how many of its samples all ranks have consumed.
        best: the best evaluation so far.
        skipped: steps that were skipped, since loss or gradient were not finite.
        metrics: all metrics of the last evaluation.
        stopped_by: name of the signal that ended `fit` early, after a checkpoint; "another rank" if this rank got no
            signal; None: it was not stopped.

    Raises:
        ValueError: model, shards and settings do not fit each other.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        shards: Path | str,
        out: Path,
        stream: StreamSettings,
        settings: TrainSettings,
        model_recipe: dict[str, Any],
        ranks: Ranks,
    ) -> None:
        self.settings, self.ranks, self.out = settings, ranks, out
        self.recipe = {"stream": asdict(stream), "model": model_recipe, "train": asdict(settings)}
        self.epoch, self.consumed, self.skipped = 0, 0, 0
        self.best = Best()
        self.metrics: dict[str, float] = {}
        self.stopped_by: str | None = None
        if settings.num_threads:
            torch.set_num_threads(settings.num_threads)
        self._train_stream, self._val_stream = open_streams(shards, stream, settings, model_recipe, ranks)
        self.manifest = self._train_stream.manifest
        self._labels = training_labels(self._train_stream, settings)
        check_metric(settings.best_by, model_recipe["streams"], self.manifest.coarse_of)
        self._finisher = BatchFinisher.for_shards(self.manifest).to(ranks.device)
        self._place_model(model)
        objective = OBJECTIVES[model_recipe["head"]](self.model, settings.loss, self.manifest.coarse_of)
        self._gradient_step = GradientStep(self.model, objective, settings=settings, ranks=ranks)
        self._folder = RunFolder(out, keep_last=settings.keep_last)
        self._pace = Pace(ranks.device, clips_per_step=stream.batch_size, steps_per_epoch=len(self._train_stream))

    def _place_model(self, model: nn.Module) -> None:
        device = self.ranks.device
        self.model = synchronise_batch_norms(model, self.ranks) if self.settings.sync_bn else model
        self.model.to(device)
        check_model_fits(self.model, self._train_stream, device)
        if self._val_stream.clip_sizes_px != self._train_stream.clip_sizes_px:
            check_model_fits(self.model, self._val_stream, device)

    @property
    def step(self) -> int:
        """Number of batches so far; each is an optimiser step unless it was skipped."""
        return self.epoch * len(self._train_stream) + self.consumed // self._train_stream.settings.batch_size

    @property
    def evaluated_model(self) -> nn.Module:
        """The model to evaluate: the one with the mean weights if the recipe keeps one, else the trained one."""
        average = self._gradient_step.average
        return self.model if average is None else average.model

    def fit(self, *, resume: bool = False) -> dict[str, float]:
        """Train to the last epoch, or until a signal asks to stop, see `stopped_by`.

        Args:
            resume: resume from the newest undamaged checkpoint in the run folder; False starts a new run there.

        Returns:
            The metrics of the last evaluation.

        Raises:
            ValueError: there is no checkpoint to resume from, or it does not fit; or a new run would overwrite one; or
                another run is at work in the folder, or it lacks space.
            OSError: the run folder cannot hold what a run writes.
            FloatingPointError: the loss or its gradient is not finite; a file in the run folder names the clips.
        """
        with ExitStack() as stack:
            for stream in (self._train_stream, self._val_stream):
                stack.callback(stream.close)
            held = self._folder.held(checkpoint_bytes=self._gradient_step.checkpoint_bytes())
            on_main(lambda: stack.enter_context(held), self.ranks)
            notes = self._resume() if resume else []
            if not resume:
                self._folder.check_empty()
            stop = stack.enter_context(StopRequest())
            stack.enter_context(self._gradient_step.together())
            done = {"resumed_at": self.step, "evaluated_epochs": self.epoch} if resume else {}
            log = stack.enter_context(RunLog(self.out, is_main=self.ranks.is_main, **done))
            if not resume and self.ranks.is_main:
                log.pictures(first_inputs(self._train_stream, self._finisher), step=self.step)
            for note in notes:
                log.line(note)
            while self.stopped_by is None and self.epoch < self.settings.epochs:
                if self.best.is_stale(self.epoch, self.settings.patience):
                    log.line(f"no new best for {self.settings.patience} epochs: training ends early")
                    break
                if self._train_epoch(log, stop):
                    self._end_epoch(log, stop)
            if self.stopped_by is not None:
                log.line(f"stopped by {self.stopped_by} at step {self.step}; a checkpoint was saved")
        return self.metrics

    def _train_epoch(self, log: RunLog, stop: StopRequest) -> bool:
        """Train the rest of the epoch; returns whether it was completed."""
        stream, settings = self._train_stream, self.settings
        batch_size, num_steps = stream.settings.batch_size, len(stream)
        log.open_bar(self.epoch + 1, done=self.consumed // batch_size, total=num_steps)
        self.model.train()
        for batch in self._pace.epoch(stream.epoch(self.epoch, consumed=self.consumed)):
            result = self._take_step(batch, stop=bool(stop))
            if not result.is_finite:
                self._skip(batch, result, log)
            self.consumed += batch_size
            self._pace.step_done()
            log.advance_bar()
            progress = (self.consumed // batch_size, num_steps)
            steps_left = settings.epochs * num_steps - self.step
            if result.is_finite and (self.step % settings.log_steps == 0 or progress[0] == progress[1]):
                values = self._mean_over_ranks(result.values) | self._pace.values(steps_left=steps_left)
                log.values("train", values, epoch=self.epoch + 1, progress=progress, step=self.step)
            if (estimate := self._pace.estimate(steps_left=steps_left)) is not None:
                log.line(estimate)
            due = settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0
            # Also at the end of the epoch: if the evaluation is killed, no step is lost.
            if due or result.stop or progress[0] == progress[1]:
                self._save_last()
            if result.stop:
                self._note_stop(stop)
                break
        log.close_bar()
        for line in damage_report(stream):
            log.line(line)
        return self.stopped_by is None

    def _take_step(self, batch: Batch, *, stop: bool = False) -> StepResult:
        """One optimiser step on this rank's part of the batch."""
        settings, steps = self.settings, len(self._train_stream)
        torch.manual_seed(step_seed(settings.seed, self.step))
        if settings.shuffle_labels:
            batch = relabel(batch, self._labels, self.manifest.coarse_of)
        batch = batch.to(self.ranks.device)
        rate = learning_rate(
            self.step,
            total_steps=settings.epochs * steps,
            warmup_steps=round(settings.warmup_epochs * steps),
            peak=settings.lr,
            minimum=settings.min_lr,
            schedule=settings.schedule,
            milestones=[round(epoch * steps) for epoch in settings.milestones],
            gamma=settings.gamma,
        )
        rgb, pose = self._finisher(batch)
        return self._gradient_step.take(rgb, pose, batch.label, rate=rate, stop=stop)

    def _skip(self, batch: Batch, result: StepResult, log: RunLog) -> None:
        """Write the clips of a batch whose loss is not finite to a file, and continue if the recipe allows it.

        Raises:
            FloatingPointError: more than `train.max_skipped_steps` steps were not finite.
        """
        values = {name: float(value) for name, value in result.values.items()}
        message = write_not_finite(self.out, self.step, batch.keys, values)
        self.skipped += 1
        if self.skipped > self.settings.max_skipped_steps:
            raise FloatingPointError(message)
        log.line(f"{message}; skipped, {self.skipped} of {self.settings.max_skipped_steps}")

    def _mean_over_ranks(self, values: dict[str, Tensor]) -> dict[str, float]:
        stacked = torch.stack([value.to(self.ranks.device, torch.float64) for value in values.values()])
        return dict(zip(values, (sum_over_ranks(stacked) / self.ranks.world).tolist(), strict=True))

    def _end_epoch(self, log: RunLog, stop: StopRequest) -> None:
        self._average_statistics()
        begun = time.perf_counter()
        self.metrics = evaluate(self.evaluated_model, self._val_stream, self._finisher, self.ranks.device)
        for line in damage_report(self._val_stream):
            log.line(line)
        self._pace.evaluation_done(time.perf_counter() - begun)
        name = metric_name(self.settings.best_by, self.metrics)
        clips = -(-self._val_stream.num_samples // self.ranks.world)  # as the authors' logs count them, at batch size 1
        log.values("val", self.metrics, epoch=self.epoch + 1, progress=(clips, clips), step=self.step)
        self.epoch, self.consumed = self.epoch + 1, 0
        # Save the best first: a run that is killed in between evaluates again, and saves it again.
        self.best = self.best.after(self.metrics[name], self.epoch)
        if self.best.epoch == self.epoch:
            if self.ranks.is_main:
                self._folder.save_best(self._checkpoint(), name)
            saved = best_file(name, self.epoch)
            log.line(f"best checkpoint: {name} {self.best.score:.4f} at epoch {self.epoch}, saved as {saved}")
        self._save_last()
        if any_rank([bool(stop)], self.ranks.device)[0]:
            self._note_stop(stop)

    def _note_stop(self, stop: StopRequest) -> None:
        self.stopped_by = "another rank" if stop.signal is None else stop.signal.name

    def _save_last(self) -> None:
        self._average_statistics()
        if self.ranks.is_main:
            self._folder.save_last(self._checkpoint(), self.step)

    def _average_statistics(self) -> None:
        """Average the statistics of batch norms over ranks, unless they are synchronised."""
        if not self.settings.sync_bn:
            average_buffers(self.model)
            if self.evaluated_model is not self.model:
                average_buffers(self.evaluated_model)

    def _checkpoint(self) -> Checkpoint:
        step = self._gradient_step
        return Checkpoint(
            weights=self.model.state_dict(),
            optimizer=optimizer_state(step.optimizer),
            epoch=self.epoch,
            consumed=self.consumed,
            shards=shards_identity(self.manifest, self._train_stream.view_sha256),
            recipe=self.recipe,
            averaged=None if step.average is None else step.average.state(),
            scaler=step.scaler.state_dict(),
            skipped=self.skipped,
            best=self.best.score,
            best_epoch=self.best.epoch,
            measures=self.metrics,
        )

    def _resume(self) -> list[str]:
        """Restore the state of the newest undamaged checkpoint; returns lines for the log."""
        notes: list[str] = []
        path, checkpoint = self._folder.load_last(notes.append)
        chosen = gather(path)[0]
        if path != chosen:  # a network file system may show ranks different files
            path, checkpoint = chosen, load_checkpoint(chosen)
        view_sha256 = self._train_stream.view_sha256
        check_can_resume(checkpoint, str(path), self.manifest, self.recipe, view_sha256=view_sha256)
        load_weights(self.model, checkpoint.weights, str(path))
        self._gradient_step.load(checkpoint, str(path))
        self.epoch, self.consumed, self.skipped = checkpoint.epoch, checkpoint.consumed, checkpoint.skipped
        comparable = recipe_section(checkpoint, "train").get("best_by", "") == self.settings.best_by
        is_there = gather(self._folder.has_best(checkpoint.best_epoch))[0]
        if comparable and is_there:
            self.best = Best(score=checkpoint.best, epoch=checkpoint.best_epoch)
        elif comparable and checkpoint.best_epoch:
            notes.append(f"the best checkpoint, of epoch {checkpoint.best_epoch}, is gone; the best is sought anew")
        self.metrics = checkpoint.measures
        notes.append(f"continuing from {path}")
        return [f"resume: {note}" for note in (*notes, *changed_settings(checkpoint, self.recipe))]
