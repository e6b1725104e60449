"""Checkpoints of a run: saved completely or not at all, loaded completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epam_data.shards.manifest import Manifest
from epam_data.system.files import atomic_write
from epam_data.system.printable import brief, printable
from epam_model.weights.conversion import first_of
from epam_model.weights.safetensors_file import write_safetensors
from epam_model.weights.weight_file import read_weight_file, tensor_fault

VERSION = 2
"""2: the optimiser's state by name of the weight. Version 1 can be tested and used in `init_from`, not resumed."""

_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("weights", "optimizer", "shards", "recipe", "scaler", "measures"), (dict,)),
    **dict.fromkeys(("epoch", "consumed", "skipped", "best_epoch"), (int,)),
    "averaged": (dict, type(None)),
    "best": (float, int, type(None)),
    "converted_from": (str,),
}

_MOST = {"epoch": 1_000_000, "best_epoch": 1_000_000, "consumed": 2**62, "skipped": 2**62}
"""Largest counts; `train.epochs` allows no more either."""

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
    converted_from: str = ""  # format of the file that `convert` read; empty: it is of a run, and can be resumed

    @property
    def evaluated(self) -> dict[str, Tensor]:
        """The weights to evaluate: their mean, if the recipe keeps one."""
        return self.weights if self.averaged is None else self.averaged


def shards_identity(manifest: Manifest, view_sha256: str = "") -> dict[str, Any]:
    """What a checkpoint stores about the shards: the meaning of classes and heatmap channels, the build, the view."""
    return {
        "dataset": manifest.dataset,
        "classes": list(manifest.classes),
        "skeleton": manifest.skeleton,
        "heatmap_kind": manifest.prepare.heatmap_kind,
        "index_sha256": manifest.index_sha256,
        "view_sha256": view_sha256,
    }


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: `path` is always the old or the new file, even after a power cut."""
    with atomic_write(path) as file:
        torch.save({"version": VERSION, **checkpoint.__dict__}, file)


def save_converted(
    path: Path, weights: dict[str, Tensor], *, shards: dict[str, Any], recipe: dict[str, Any], source: str
) -> None:
    """Write converted weights atomically, so that all commands but a resume take them for a checkpoint.

    Args:
        path: file to write; a safetensors file if its name ends so, with all but the weights in its metadata, as JSON.
        weights: state dict of the model, under our names.
        shards: what the weights mean, as `shards_identity` returns it.
        recipe: settings by section: stream, model.
        source: the format that they had.
    """
    values = {"version": VERSION, "shards": shards, "recipe": recipe, "converted_from": source}
    save_state(path, weights, values)


def save_state(path: Path, weights: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write a state dict and other values atomically, as torch does or, by the name of the file, as safetensors."""
    with atomic_write(path) as file:
        if path.suffix == ".safetensors":
            texts = {name: json.dumps(value) for name, value in values.items()}
            write_safetensors(file, weights, {"format": "pt", **texts})
        else:
            torch.save({**values, "state_dict": weights}, file)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, with `weights_only=True`: the file cannot run code.

    Raises:
        DamagedCheckpointError: the file is truncated, or a byte of it has changed.
        ValueError: there is no such file, or it is neither a checkpoint of this trainer nor a converted one.
    """
    values = read_weight_file(path)
    version = values.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        other = "; `epam-model convert` makes a checkpoint of other weights" if version is None else ""
        raise ValueError(
            f"{path}: checkpoint version {brief(version, 40)} cannot be read, this code reads 1..{VERSION}{other}"
        )
    if "converted_from" in values:
        values = {"weights": values.get("state_dict"), "optimizer": {}, "epoch": 0, "consumed": 0, **values}
    needed = [each.name for each in fields(Checkpoint) if each.default is each.default_factory is MISSING]
    if absent := [name for name in needed if name not in values]:
        raise ValueError(f"{path}: the checkpoint lacks {', '.join(absent)}")
    for name, kinds in _KINDS.items():
        if name in values and (not isinstance(values[name], kinds) or isinstance(values[name], bool)):
            raise ValueError(f"{path}: {name} must be a {kinds[0].__name__}, got {type(values[name]).__name__}")
    for name, most in _MOST.items():
        if not 0 <= values.get(name, 0) <= most:
            raise ValueError(f"{path}: {name} must be in 0..{most}, got {brief(values[name], 40)}")
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
    problems += [
        f"{name} is {fault}"
        for name, value in weights.items()
        if name in expected and isinstance(value, Tensor) and (fault := _misfit(value, expected[name])) is not None
    ]
    if problems:
        raise ValueError(f"{what}: the weights do not fit the model: {first_of(problems)}")
    model.load_state_dict(weights, strict=True)


def _misfit(value: Tensor, expected: Tensor) -> str | None:
    """Why the numbers of a tensor cannot be a weight's, whatever its shape."""
    if value.is_floating_point() != expected.is_floating_point():
        return f"of {value.dtype}, expected {expected.dtype}"
    return tensor_fault(value)


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
    differences = list(_class_differences(checkpoint.shards.get("classes"), here["classes"]))
    for name in ("skeleton", "heatmap_kind"):
        if (theirs := checkpoint.shards.get(name)) != here[name]:
            differences.append(f"its {name} is {_shown(theirs)}, the shards have {here[name]}")
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
        theirs, ours = recipe_section(checkpoint, "model").get(name), model_recipe.get(name)
        if theirs != ours:
            yield f"its model.{name} is {_shown(theirs)}, the recipe has {ours}"


def recipe_section(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """A section of the recipe in a checkpoint; empty if a stranger's has none."""
    section = checkpoint.recipe.get(name)
    return section if isinstance(section, dict) else {}


def _shown(value: Any) -> str:
    return printable(value, 100) if isinstance(value, str) else brief(value, 100)


def check_same_clips(checkpoint: Checkpoint, what: str, stream_recipe: dict[str, Any]) -> None:
    """Refuse to evaluate a checkpoint on clips sampled differently from those it was trained on.

    Args:
        checkpoint: as loaded.
        what: its file, for the message.
        stream_recipe: the current `stream` section.

    Raises:
        ValueError: frames or sampling differ; all differences are listed.
    """
    theirs = recipe_section(checkpoint, "stream")
    differences = [
        f"it was trained with stream.{name} {_shown(theirs.get(name))}, the recipe has {stream_recipe[name]}"
        for name in ("rgb_frames", "pose_frames", "sampling")
        if theirs.get(name) != stream_recipe[name]
    ]
    if differences:
        raise ValueError(f"{what}: {'; '.join(differences)}")


def _class_differences(theirs: Any, ours: list[str]) -> Iterator[str]:
    if not isinstance(theirs, list):
        yield "it names no classes"
    elif len(theirs) != len(ours):
        yield f"it has {len(theirs)} classes, the shards have {len(ours)}"
    elif theirs != ours:
        label = next(number for number, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        yield f"its class {label} is {brief(theirs[label])}, the shards have {ours[label]!r}"
