"""State dicts under the published names, so that checkpoints go from MMAction2 to this package and back as they are."""

from __future__ import annotations

from typing import Any

from torch import nn

from epam_model.weights.published_names import Names, inverse


def save_under(module: nn.Module, published: Names) -> None:
    """Make a module save its tensors under published names, and load them under those or its own.

    Args:
        module: its `state_dict` is renamed, also as a part of another module.
        published: published name -> the module's own.
    """
    to_published = inverse(published)

    def saved(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
        _rename(state, prefix, to_published)

    def loaded(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
        _rename(state, prefix, published)

    # The older names of both, which MMEngine's own saving and loading know and every torch has.
    module._register_state_dict_hook(saved)  # type: ignore[no-untyped-call]
    module._register_load_state_dict_pre_hook(loaded, with_module=True)  # type: ignore[no-untyped-call]


def _rename(state: dict[str, Any], prefix: str, names: Names) -> None:
    """In place; what the table lacks keeps its name, and loading reports it."""
    for name in [name for name in state if name.startswith(prefix)]:
        renamed = names.get(name[len(prefix) :])
        if renamed is not None:
            state[prefix + renamed] = state.pop(name)
