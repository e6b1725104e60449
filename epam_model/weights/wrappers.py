"""What frameworks put around weights: entries of a file in which they lie, and prefixes of their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_MEANS = ("averaged", "state_dict_ema", "model_ema", "ema")
"""Entries with a mean of the weights, which is the one to evaluate: ours, timm's, torchvision's, others'."""
_STATES = ("weights", "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "shadow")
_LAST = ("ema_state_dict",)
"""MMEngine exchanges both before it saves: its `state_dict` has the mean, and this entry has not."""
_DEPTH = 3  # entries within entries

_COMPONENTS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Modules that DDP, averaged models, torch.compile, FSDP and activation checkpointing put around another one."""
_LEADS = ("model.", "net.", "network.", "ema.", "ema_model.", "averaged_model.")
"""Names of the network in the object that saved it, such as Lightning's module."""


def find_state(values: Mapping[Any, Any], depth: int = _DEPTH) -> dict[str, Tensor]:
    """The tensors by name in the entries of a file, of the innermost entry that is known to have weights.

    Empty if there are none; numbers alone (`n_averaged`, a decay) are no weights.
    """
    if depth:
        for name in (*_MEANS, *_STATES, *_LAST):
            inner = values.get(name)
            if isinstance(inner, Mapping) and (state := find_state(inner, depth - 1)):
                return state
    state = {name: value for name, value in values.items() if isinstance(value, Tensor) and isinstance(name, str)}
    return state if any(value.ndim for value in state.values()) else {}


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without the prefixes of frameworks, in any order and number, and without counters.

    A prefix stays if two tensors would get the same name without it. Counters (`n_averaged`) are numbers whose name
    has no dot.
    """
    plain = {name: value for name, value in state.items() if "." in name or value.ndim}
    plain = _renamed(plain, {name: _without_components(name) for name in plain})
    while True:
        before = list(plain)
        for lead in _LEADS:
            plain = _renamed(plain, {name: name.removeprefix(lead) for name in plain})
        if list(plain) == before:
            return plain


def _without_components(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _COMPONENTS)


def _renamed(state: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {names[name]: value for name, value in state.items()}
    return renamed if len(renamed) == len(state) and "" not in renamed else state
