"""Checkpoints of a run: saved completely or not at all, loaded completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epam_data.shards.manifest import Manifest
from epam_data.system.files import atomic_write
from epam_data.system.printable import brief
from epam_model.weights.weight_file import read_weight_file

VERSION = 2
"""2: the optimiser's state by name of the weight. Version 1 can be tested and used in `init_from`, not resumed."""

_KINDS = {"weights": dict, "optimizer": dict, "epoch": int, "consumed": int, "shards": dict, "recipe": dict}

_STRUCTURE = ("network", "streams", "attention_type", "interaction", "head")
"""Recipe keys of the section `model` that decide what its weights mean."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a run needs to resume exactly where it was.

    The learning rate is a function of the step, and random numbers are keyed by (seed, step), the same on all ranks:
    the position in the stream determines both, so neither has state to save.
    """

    weights: dict[str, Tensor]  # state dict of the model
    optimizer: dict[str, Any]  # see `optimizer.optimizer_state`
    epoch: int  # the current epoch, from 0
    consumed: int  # samples of this epoch that all ranks together have consumed
    shards: dict[str, Any]  # see `shards_identity`
    recipe: dict[str, Any]  # settings by section: stream, model, train
    averaged: dict[str, Tensor] | None = None  # state dict of the mean of the weights, if the recipe keeps one
    scaler: dict[str, Any] = field(default_factory=dict)  # state of the loss scaler, for fp16
    skipped: int = 0  # steps skipped because loss or gradient were not finite
    best: float | None = None  # best value so far of the metric that selects the best checkpoint
    best_epoch: int = 0  # epoch of that value, from 1; 0: not yet evaluated
    measures: dict[str, float] = field(default_factory=dict)  # metrics of the last evaluation

    @property
    def evaluated(self) -> dict[str, Tensor]:
        """The weights to evaluate: their mean, if the recipe keeps one."""
        return self.weights if self.averaged is None else self.averaged


def shards_identity(manifest: Manifest) -> dict[str, Any]:
    """What a checkpoint stores about the shards: the meaning of classes and heatmap channels, and the build."""
    return {
        "dataset": manifest.dataset,
        "classes": list(manifest.classes),
        "skeleton": manifest.skeleton,
        "heatmap_kind": manifest.prepare.heatmap_kind,
        "index_sha256": manifest.index_sha256,
    }


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: `path` is always the old or the new file, even after a power cut."""
    with atomic_write(path) as file:
        torch.save({"version": VERSION, **checkpoint.__dict__}, file)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, with `weights_only=True`: the file cannot run code.

    Raises:
        DamagedCheckpointError: the file is truncated, or a byte of it has changed.
        ValueError: there is no such file, or it is not a checkpoint of this trainer.
    """
    values = read_weight_file(path)
    version = values.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(
            f"{path}: checkpoint version {brief(version, 40)} cannot be read, this code reads 1..{VERSION}"
        )
    needed = [each.name for each in fields(Checkpoint) if each.default is each.default_factory is MISSING]
    if absent := [name for name in needed if name not in values]:
        raise ValueError(f"{path}: the checkpoint lacks {', '.join(absent)}")
    for name, kind in _KINDS.items():
        if not isinstance(values[name], kind):
            raise ValueError(f"{path}: {name} must be a {kind.__name__}, got {type(values[name]).__name__}")
    return Checkpoint(**{name: values[name] for name in Checkpoint.__dataclass_fields__ if name in values})


def load_weights(model: nn.Module, weights: dict[str, Tensor], what: str) -> None:
    """Fill a model with weights: all of them or none.

    Args:
        model: the model to fill.
        weights: its state dict.
        what: the file that they come from, for the message.

    Raises:
        ValueError: keys are missing or unexpected, or shapes differ; they are listed.
    """
    expected = model.state_dict()
    problems = [f"{brief(name, 80)} is no weight" for name, value in weights.items() if not isinstance(value, Tensor)]
    problems += [f"missing {name}" for name in expected if name not in weights]
    problems += [f"unexpected {name}" for name in weights if name not in expected]
    problems += [
        f"{name} must be {tuple(expected[name].shape)}, got {tuple(value.shape)}"
        for name, value in weights.items()
        if name in expected and isinstance(value, Tensor) and expected[name].shape != value.shape
    ]
    if problems:
        raise ValueError(f"{what}: the weights do not fit the model: {'; '.join(problems)}")
    model.load_state_dict(weights, strict=True)


def check_same(checkpoint: Checkpoint, what: str, manifest: Manifest, model_recipe: dict[str, Any]) -> None:
    """Refuse a checkpoint with other classes, heatmap channels or another model.

    Args:
        checkpoint: as loaded.
        what: its file, for the message.
        manifest: of the current shards.
        model_recipe: the current `model` section.

    Raises:
        ValueError: something differs; all differences are listed.
    """
    here = shards_identity(manifest)
    differences = list(_class_differences(checkpoint.shards["classes"], here["classes"]))
    for name in ("skeleton", "heatmap_kind"):
        if checkpoint.shards[name] != here[name]:
            differences.append(f"its {name} is {checkpoint.shards[name]}, the shards have {here[name]}")
    differences += _model_differences(checkpoint, model_recipe)
    if differences:
        raise ValueError(f"{what}: the checkpoint does not fit: {'; '.join(differences)}")


def check_same_model(checkpoint: Checkpoint, what: str, model_recipe: dict[str, Any]) -> None:
    """Refuse a checkpoint of another model; like `check_same`, but without shards.

    Raises:
        ValueError: recipe keys that decide what the weights mean differ; all are listed.
    """
    if differences := list(_model_differences(checkpoint, model_recipe)):
        raise ValueError(f"{what}: the checkpoint does not fit: {'; '.join(differences)}")


def _model_differences(checkpoint: Checkpoint, model_recipe: dict[str, Any]) -> Iterator[str]:
    for name in _STRUCTURE:
        theirs, ours = checkpoint.recipe["model"].get(name), model_recipe.get(name)
        if theirs != ours:
            yield f"its model.{name} is {theirs}, the recipe has {ours}"


def check_same_clips(checkpoint: Checkpoint, what: str, stream_recipe: dict[str, Any]) -> None:
    """Refuse to evaluate a checkpoint on clips sampled differently from those it was trained on.

    Args:
        checkpoint: as loaded.
        what: its file, for the message.
        stream_recipe: the current `stream` section.

    Raises:
        ValueError: frames or sampling differ; all differences are listed.
    """
    differences = [
        f"it was trained with stream.{name} {checkpoint.recipe['stream'][name]}, the recipe has {stream_recipe[name]}"
        for name in ("rgb_frames", "pose_frames", "sampling")
        if checkpoint.recipe["stream"][name] != stream_recipe[name]
    ]
    if differences:
        raise ValueError(f"{what}: {'; '.join(differences)}")


def _class_differences(theirs: list[str], ours: list[str]) -> Iterator[str]:
    if len(theirs) != len(ours):
        yield f"it has {len(theirs)} classes, the shards have {len(ours)}"
    elif theirs != ours:
        label = next(number for number, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        yield f"its class {label} is {theirs[label]!r}, the shards have {ours[label]!r}"
