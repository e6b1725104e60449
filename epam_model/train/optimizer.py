"""The optimiser of a recipe: one group of weights per part of the network, and a state by name of the weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from epam_model.networks.two_streams import HasParts
from epam_model.train.settings import LearningRateFactors, TrainSettings
from epam_model.weights.weight_file import tensor_fault

PARTS = tuple(each.name for each in fields(LearningRateFactors))


def make_optimizer(model: nn.Module, settings: TrainSettings) -> Optimizer:
    """An optimiser of the weights of a model that are not frozen.

    Besides torch's own keys, its groups have the `part` of the network and the names of the `weights`.

    Raises:
        ValueError: all weights are frozen, or a weight belongs to no part of the model.
    """
    parts: dict[str, dict[str, nn.Parameter]] = {}
    module_parts = model.module_parts if isinstance(model, HasParts) else {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            parts.setdefault(part_of(name, module_parts), {})[name] = weight
    if not parts:
        raise ValueError("nothing to train: every part of the model is frozen")
    groups = [
        {"params": list(weights.values()), "part": part, "weights": list(weights)} for part, weights in parts.items()
    ]
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay)
    return SGD(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def part_of(name: str, module_parts: Mapping[str, str]) -> str:
    """The part of the network to which a weight belongs, a key of `train.lr_factors`: rgb, pose, joint or head.

    Args:
        name: name of the weight.
        module_parts: name of each submodule -> its part, see `HasParts`.

    Raises:
        ValueError: the weight is in none of the submodules, or its part is unknown.
    """
    part = next((part for module, part in module_parts.items() if name.startswith(f"{module}.")), None)
    if part not in PARTS:
        raise ValueError(
            f"weight {name} must belong to a part of the network ({', '.join(PARTS)}), got {part}; "
            "name it in `module_parts` of the model, such as {'head': 'head'}"
        )
    return part


def set_learning_rate(optimizer: Optimizer, rate: float, settings: TrainSettings) -> dict[str, float]:
    """Set the rate of each group, times its factor; returns the rates to log: `lr`, and `lr_<part>` if it differs."""
    rates = {"lr": rate}
    for group in optimizer.param_groups:
        factor = getattr(settings.lr_factors, group["part"])
        group["lr"] = rate * factor
        if factor != 1:
            rates[f"lr_{group['part']}"] = rate * factor
    return rates


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """The state of an optimiser by name of the weight: the `weights` that it trains, and the `state` of each.

    Learning rates and weight decay are not included: a resumed run takes them from its recipe.
    """
    return {
        "kind": type(optimizer).__name__,
        "weights": [name for group in optimizer.param_groups for name in group["weights"]],
        "state": {
            name: dict(optimizer.state[weight])
            for group in optimizer.param_groups
            for name, weight in zip(group["weights"], group["params"], strict=True)
            if weight in optimizer.state
        },
    }


def load_optimizer_state(optimizer: Optimizer, state: dict[str, Any], what: str) -> None:
    """Restore the state of an optimiser of the same kind with the same weights.

    Args:
        optimizer: gets the state.
        state: what `optimizer_state` returned.
        what: the file that it comes from, for the message.

    Raises:
        ValueError: the state is of another kind of optimiser, or other weights were trained.
    """
    now = optimizer_state(optimizer)
    if state.get("kind") != now["kind"]:
        raise ValueError(f"{what}: cannot resume, the optimizer was {state.get('kind')}, now {now['kind']}")
    if not _is_state(state, optimizer):
        raise ValueError(f"{what}: cannot resume, the optimizer's state is damaged, or of other shapes")
    if set(state["weights"]) != set(now["weights"]):
        first = min(set(state["weights"]) ^ set(now["weights"]))
        raise ValueError(
            f"{what}: cannot resume, other weights were trained, such as {first}; see model.freeze_rgb and freeze_pose"
        )
    number_of = {name: number for number, name in enumerate(now["weights"])}
    numbered = {number_of[name]: values for name, values in state["state"].items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": optimizer.state_dict()["param_groups"]})


def _is_state(state: dict[str, Any], optimizer: Optimizer) -> bool:
    """Whether a state names its weights, and each moment has the shape of its weight or is a single number."""
    names, moments = state.get("weights"), state.get("state")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    if not isinstance(moments, dict) or not set(moments) <= set(names):
        return False
    groups = optimizer.param_groups
    shapes = {name: p.shape for g in groups for name, p in zip(g["weights"], g["params"], strict=True)}
    return all(
        isinstance(values, dict) and all(_fits(value, shapes.get(name)) for value in values.values())
        for name, values in moments.items()
    )


def _fits(value: Any, shape: torch.Size | None) -> bool:
    """Whether a moment can be that of a weight of this shape (None: no weight of now, which is told elsewhere)."""
    if not isinstance(value, Tensor) or shape is None:
        return True
    return tensor_fault(value) is None and (value.numel() == 1 or value.shape == shape)
