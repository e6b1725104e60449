"""State dicts under the published names, so that MMAction2 and this package can read each other's checkpoints."""

from __future__ import annotations

from typing import Any

from torch import nn

from epam_model.networks.published_weights import rename_in
from epam_model.weights.published_names import Names, inverse


def save_under(module: nn.Module, published: Names) -> None:
    """Make a module save its tensors under published names, and load them under those or its own names.

    Args:
        module: its `state_dict` is renamed, also as part of another module.
        published: published name -> the module's own name.
    """
    to_published = inverse(published)

    def saved(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
        rename_in(state, prefix, to_published)

    def loaded(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
        rename_in(state, prefix, published)

    # The older names of both hooks, which MMEngine's saving and loading use and every torch version has.
    module._register_state_dict_hook(saved)  # type: ignore[no-untyped-call]
    module._register_load_state_dict_pre_hook(loaded, with_module=True)  # type: ignore[no-untyped-call]
