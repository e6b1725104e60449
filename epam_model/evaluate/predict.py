"""Predictions and measures of a model on one split: each clip exactly once, whatever the number of ranks."""

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
    """Logits of all N clips of a split, in storage order; those that were left out as damaged are not among them."""

    keys: list[str]  # N
    labels: Tensor  # (N,) int64, -1: hidden
    logits: dict[str, Tensor]  # stream -> (N, K) float32, on the CPU


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one clip."""

    key: str
    label: str | None  # name of the class, where the data set tells it
    top: tuple[tuple[str, float], ...]  # (class name, probability), the five most probable first


def evaluate(model: nn.Module, stream: Stream, finisher: BatchFinisher, device: torch.device) -> dict[str, float]:
    """The measures of a model on the split of `stream`; see `metrics.measure` for their names.

    Where damaged samples were left out (`on_damage: skip`), `num_samples` says over how many they are.

    Args:
        model: maps (rgb, pose) to `Logits`; on `device`, and not wrapped by DDP: ranks may have unequal batches.
        stream: an evaluation stream of this rank.
        finisher: makes a model's input of a batch; on `device`.
        device: where the model computes.

    Raises:
        FloatingPointError: a logit is not finite.
    """
    return measures_of(collect(model, stream, finisher, device), stream)


def measures_of(predictions: Predictions, stream: Stream) -> dict[str, float]:
    """What `evaluate` says of predictions of the split of `stream`."""
    measures = measure(predictions.logits, predictions.labels, stream.manifest.coarse_of)
    if measures and len(predictions.keys) < stream.num_samples:
        measures["num_samples"] = float(len(predictions.keys))
    return measures


def most_probable(predictions: Predictions, classes: Sequence[str], scores: str = "fused") -> list[Prediction]:
    """The five most probable classes of each clip; labels are not needed.

    Args:
        predictions: of the clips.
        classes: their names.
        scores: which of `metrics.score_tables` decides.

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
    """The logits of every clip of the split, from all ranks, on every rank. Arguments as in `evaluate`.

    Raises:
        FloatingPointError: a logit is not finite.
        ValueError: a sample cannot be read; with `on_damage: skip`, none can.
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
        raise ValueError(f"{stream.root}: no sample of {stream.split} can be read, the first is {damage[0]}")
    left_out = {each.position for each in damage}
    return _in_order(parts, [position for position in range(stream.num_samples) if position not in left_out])


def _mean_scores(model: nn.Module, batch: Batch, finisher: BatchFinisher, *, mirrored: bool) -> dict[str, Tensor]:
    """Logits (B, K) of each stream: the mean over the clips of each sample and, if asked for, their mirror images."""
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
        num_clips: C; the logits of 1 clip stay as they are.

    Returns:
        (B, K); softmax turns them into the mean probabilities. A sum of logits over streams then adds these logarithms.
    """
    if num_clips == 1:
        return logits
    clips = logits.float().log_softmax(dim=1).view(-1, num_clips, logits.shape[1])
    return clips.logsumexp(dim=1) - math.log(num_clips)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def check_model_fits(model: nn.Module, stream: Stream, device: torch.device) -> None:
    """Try a clip of zeros, so that a model that does not fit the shards is refused before the first step.

    Raises:
        ValueError: the model does not take such clips, or has another number of classes than the shards.
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
    """Each class of the shards must have one of the groups that the model scores, and each group a class."""
    coarse_of, num_classes = stream.manifest.coarse_of, len(stream.manifest.classes)
    if len(coarse_of) != num_classes:
        raise ValueError(
            f"{stream.root}: the taxonomy does not cover the classes: {num_classes} classes, {len(coarse_of)} groups"
        )
    if set(coarse_of) != set(range(num_groups)):
        raise ValueError(
            f"{stream.root}: the taxonomy does not cover the model's {num_groups} coarse groups: "
            f"its classes have the groups {sorted(set(coarse_of))}"
        )


def _check_finite(logits: Logits, keys: list[str]) -> None:
    for name, scores in logits.streams.items():
        finite = scores.isfinite().all(dim=1).tolist()
        if not all(finite):
            bad = [key for key, good in zip(keys, finite, strict=True) if not good]
            raise FloatingPointError(f"the {name} logits of {', '.join(bad)} are not finite")


def _in_order(parts: list[tuple[list[str], dict[str, Tensor]]], positions: list[int]) -> Predictions:
    """Join what the ranks saw, in the order of the split; `positions` are those that they must have seen."""
    parts = [part for part in parts if part[0]]  # a rank may have had no clip
    keys = [key for part in parts for key in part[0]]
    columns = {name: torch.cat([part[1][name] for part in parts]) for name in parts[0][1]}
    position, order = columns.pop("position").sort()
    assert position.tolist() == positions, "each clip is predicted exactly once"
    return Predictions(
        keys=[keys[row] for row in order.tolist()],
        labels=columns.pop("label")[order],
        logits={name: tensor[order].float() for name, tensor in columns.items()},
    )
