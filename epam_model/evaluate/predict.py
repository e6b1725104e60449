"""Predictions and metrics of a model on one split: each sample exactly once, for any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from epam_data.stream import Batch, BatchFinisher, Stream
from epam_model.evaluate.damage_report import all_damage
from epam_model.evaluate.metrics import measure, probabilities
from epam_model.networks.heads import Logits
from epam_model.ranks.distributed import gather

TOP_CLASSES = 5


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Logits of all N samples of a split, in storage order, without those that were left out as damaged."""

    keys: list[str]  # N
    labels: Tensor  # (N,) int64, -1: hidden
    logits: dict[str, Tensor]  # stream -> (N, K) float32, on the CPU


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for one sample."""

    key: str
    label: str | None  # name of the true class; None: hidden
    top: tuple[tuple[str, float], ...]  # (class name, probability), the five most probable first


def evaluate(model: nn.Module, stream: Stream, finisher: BatchFinisher, device: torch.device) -> dict[str, float]:
    """The metrics of a model on the split of `stream`; see `metrics.measure` for their names.

    If damaged samples were left out (`on_damage: skip`), `num_samples` is the number of those evaluated.

    Args:
        model: maps (rgb, pose) to `Logits`; on `device`, and not wrapped by DDP: ranks may have unequal batches.
        stream: an evaluation stream of this rank.
        finisher: turns a batch into the model's input; on `device`.
        device: the model's device.

    Raises:
        FloatingPointError: a logit is not finite.
    """
    return metrics_of(collect(model, stream, finisher, device), stream)


def metrics_of(predictions: Predictions, stream: Stream) -> dict[str, float]:
    """The metrics that `evaluate` returns, from predictions of the split of `stream`."""
    metrics = measure(predictions.logits, predictions.labels, stream.manifest.coarse_of)
    if metrics and len(predictions.keys) < stream.num_samples:
        metrics["num_samples"] = float(len(predictions.keys))
    return metrics


def most_probable(predictions: Predictions, classes: Sequence[str], scores: str = "fused") -> list[Prediction]:
    """The five most probable classes of each sample; labels are not needed.

    Args:
        predictions: of the samples.
        classes: names of the classes.
        scores: which of `metrics.score_tables` ranks the classes.

    Raises:
        ValueError: there are no such scores.
    """
    top, order = probabilities(predictions.logits, scores).sort(dim=1, descending=True, stable=True)
    return [
        Prediction(
            key=key,
            label=classes[label] if label >= 0 else None,
            top=tuple((classes[k], p) for k, p in zip(ks[:TOP_CLASSES], ps[:TOP_CLASSES], strict=True)),
        )
        for key, label, ks, ps in zip(
            predictions.keys, predictions.labels.tolist(), order.tolist(), top.tolist(), strict=True
        )
    ]


def collect(model: nn.Module, stream: Stream, finisher: BatchFinisher, device: torch.device) -> Predictions:
    """The logits of every sample of the split, from all ranks, on every rank. Arguments as in `evaluate`.

    Raises:
        FloatingPointError: a logit is not finite.
        ValueError: a sample cannot be read; with `on_damage: skip`, only if no sample can be read.
    """
    keys: list[str] = []
    columns: dict[str, list[Tensor]] = {}
    with evaluating(model), torch.no_grad():
        for batch in stream.epoch():
            batch = batch.to(device)
            keys += batch.keys
            scores = _mean_scores(model, batch, finisher, mirrored=stream.settings.eval_flip)
            row = {"position": batch.position, "label": batch.label, **scores}
            for name, tensor in row.items():
                columns.setdefault(name, []).append(tensor.cpu())
    parts = gather((keys, {name: torch.cat(tensors) for name, tensors in columns.items()}))
    damage = all_damage(stream)
    if len(damage) == stream.num_samples:
        raise ValueError(f"{stream.root}: no sample of {stream.split} can be read; the first: {damage[0]}")
    left_out = {each.position for each in damage}
    return _in_order(parts, [position for position in range(stream.num_samples) if position not in left_out])


def _mean_scores(model: nn.Module, batch: Batch, finisher: BatchFinisher, *, mirrored: bool) -> dict[str, Tensor]:
    """Logits (B, K) of each stream: the mean over the clips of each sample and, if `mirrored`, their mirror images."""
    views = [batch, replace(batch, flip=~batch.flip)] if mirrored else [batch]
    tables: dict[str, list[Tensor]] = {}
    for view in views:
        logits: Logits = model(*finisher(view))
        _check_finite(logits, [key for key in batch.keys for _ in range(batch.num_clips)])
        for name, table in logits.streams.items():
            tables.setdefault(name, []).append(table.view(len(batch), batch.num_clips, -1))
    num_clips = len(views) * batch.num_clips
    return {name: mean_over_clips(torch.cat(each, dim=1).flatten(0, 1), num_clips) for name, each in tables.items()}


def mean_over_clips(logits: Tensor, num_clips: int) -> Tensor:
    """Logits of samples from those of their clips: the logarithm of the clips' mean softmax ("prob" of MMAction2).

    Args:
        logits: (B * C, K), the C clips of a sample one after another.
        num_clips: C; with 1, the logits are returned unchanged.

    Returns:
        (B, K); their softmax is the mean of the probabilities. A sum of logits over streams adds these logarithms.
    """
    if num_clips == 1:
        return logits
    clips = logits.float().log_softmax(dim=1).view(-1, num_clips, logits.shape[1])
    return clips.logsumexp(dim=1) - math.log(num_clips)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def check_model_fits(model: nn.Module, stream: Stream, device: torch.device) -> None:
    """Run the model on a clip of zeros, to refuse a model that does not fit the shards before the first step.

    Raises:
        ValueError: the model does not take such clips, or its number of classes is not that of the shards.
    """
    manifest, settings = stream.manifest, stream.settings
    rgb_px, heatmap_px = stream.clip_sizes_px
    rgb = torch.zeros(1, 3, settings.rgb_frames, rgb_px, rgb_px, device=device)
    channels = manifest.num_channels
    pose = torch.zeros(1, channels, settings.pose_frames, heatmap_px, heatmap_px, device=device)
    try:
        with evaluating(model), torch.no_grad():
            logits: Logits = model(rgb, pose)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{stream.root}: the model does not fit the shards: {error}") from error
    num_classes = next(iter(logits.streams.values())).shape[1]
    if num_classes != len(manifest.classes):
        raise ValueError(f"{stream.root}: the model has {num_classes} classes, the shards have {len(manifest.classes)}")
    for coarse in logits.coarse_streams.values():
        _check_taxonomy(stream, coarse.shape[1])


def _check_taxonomy(stream: Stream, num_groups: int) -> None:
    """Check that each class of the shards has one of the model's coarse groups, and that each group has a class."""
    coarse_of, num_classes = stream.manifest.coarse_of, len(stream.manifest.classes)
    if len(coarse_of) != num_classes:
        raise ValueError(
            f"{stream.root}: the taxonomy has groups for {len(coarse_of)} classes, the shards have {num_classes}"
        )
    if set(coarse_of) != set(range(num_groups)):
        raise ValueError(
            f"{stream.root}: the model has {num_groups} coarse groups, "
            f"the classes of the shards have the groups {sorted(set(coarse_of))}"
        )


def _check_finite(logits: Logits, keys: list[str]) -> None:
    for name, scores in logits.streams.items():
        finite = scores.isfinite().all(dim=1).tolist()
        if not all(finite):
            bad = [key for key, good in zip(keys, finite, strict=True) if not good]
            raise FloatingPointError(f"the {name} logits of {', '.join(bad)} are not finite")


def _in_order(parts: list[tuple[list[str], dict[str, Tensor]]], positions: list[int]) -> Predictions:
    """Join the results of the ranks in the order of the split; `positions` are those that they must contain."""
    parts = [part for part in parts if part[0]]  # a rank may have had no sample
    keys = [key for part in parts for key in part[0]]
    columns = {name: torch.cat([part[1][name] for part in parts]) for name in parts[0][1]}
    position, order = columns.pop("position").sort()
    assert position.tolist() == positions, "each sample is predicted exactly once"
    return Predictions(
        keys=[keys[row] for row in order.tolist()],
        labels=columns.pop("label")[order],
        logits={name: tensor[order].float() for name, tensor in columns.items()},
    )
