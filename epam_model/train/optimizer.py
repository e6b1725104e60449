"""The optimiser of a recipe: one group of weights per part of the network, and a state that knows weights by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from epam_model.networks.two_streams import HasParts
from epam_model.train.settings import LearningRateFactors, TrainSettings

PARTS = tuple(each.name for each in fields(LearningRateFactors))


def make_optimizer(model: nn.Module, settings: TrainSettings) -> Optimizer:
    """An optimiser over the weights of a model that are trained.

    Its groups have, besides what torch puts there, the `part` of the network and the names of the `weights`.

    Raises:
        ValueError: no weight is to be trained, or one belongs to no part of the model.
    """
    parts: dict[str, dict[str, nn.Parameter]] = {}
    module_parts = model.module_parts if isinstance(model, HasParts) else {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            parts.setdefault(part_of(name, module_parts), {})[name] = weight
    if not parts:
        raise ValueError("no weight is to be trained: every part of the model is frozen")
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
    """The part of a network that a weight belongs to, as `train.lr_factors` calls it: rgb, pose, joint or head.

    Args:
        name: of the weight.
        module_parts: part of each submodule by its name, see `HasParts`.

    Raises:
        ValueError: the weight is in none of the submodules, or its part is unknown.
    """
    part = next((part for module, part in module_parts.items() if name.startswith(f"{module}.")), None)
    if part not in PARTS:
        raise ValueError(
            f"weight {name} must belong to a part of the network ({', '.join(PARTS)}), got {part}: "
            "`module_parts` of the model says which, such as {'head': 'head'}"
        )
    return part


def set_learning_rate(optimizer: Optimizer, rate: float, settings: TrainSettings) -> dict[str, float]:
    """Give each group the rate times its factor; returns the rates to log: `lr`, and `lr_<part>` where it differs."""
    rates = {"lr": rate}
    for group in optimizer.param_groups:
        factor = getattr(settings.lr_factors, group["part"])
        group["lr"] = rate * factor
        if factor != 1:
            rates[f"lr_{group['part']}"] = rate * factor
    return rates


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """What an optimiser knows, by name of the weight: `weights` that it trains, and the `state` of each.

    Learning rates and weight decay are not in it: they are what the recipe says when a run goes on.
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
    """Go on with the state of an optimiser of the same kind over the same weights.

    Args:
        optimizer: to be filled.
        state: of `optimizer_state`.
        what: the file that it is from, for the message.

    Raises:
        ValueError: the state is of another kind, or other weights were trained.
    """
    now = optimizer_state(optimizer)
    if state.get("kind") != now["kind"]:
        raise ValueError(f"{what}: cannot go on: the optimizer was {state.get('kind')}, is now {now['kind']}")
    if set(state["weights"]) != set(now["weights"]):
        first = min(set(state["weights"]) ^ set(now["weights"]))
        raise ValueError(
            f"{what}: cannot go on: other weights were trained, among them {first} (model.freeze_rgb or freeze_pose)"
        )
    number_of = {name: number for number, name in enumerate(now["weights"])}
    numbered = {number_of[name]: values for name, values in state["state"].items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": optimizer.state_dict()["param_groups"]})
