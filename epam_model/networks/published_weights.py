"""Modules whose `load_state_dict` takes the published names of their weights as well as their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from epam_model.weights.conversion import first_of
from epam_model.weights.formats import HEADS, nearest_layout
from epam_model.weights.published_names import Names
from epam_model.weights.wrappers import plain_names


class WeightsMismatchError(ValueError, RuntimeError):
    """Weights that do not fit a module: torch raises a RuntimeError for these, this package a ValueError."""


class PublishedWeights(nn.Module):
    """A module that renames published weights on their way in, also as a part of another module."""

    def published_names(self) -> Names:
        """Published name -> own name, of all weights that the module may have."""
        raise NotImplementedError

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Loads weights under own or published names, with or without prefixes of frameworks (`module.`).

        Args:
            state_dict: name -> tensor.
            strict: whether all weights must be there, and no others. Classifiers in it that are not those of this
                module are left out, with a warning.
            assign: as in torch.

        Returns:
            As in torch: the own names that are missing, and the names that are unexpected.

        Raises:
            WeightsMismatchError: shapes differ; or, with `strict`, names; or no weight of the module is there. Nothing
                was loaded then.
        """
        names = self.published_names()
        expected = {names.get(name, name): value for name, value in self.state_dict().items()}
        renamed, heads = self._renamed(state_dict, expected)
        missing = [name for name in expected if name not in renamed and not name.endswith("num_batches_tracked")]
        unexpected = [name for name in renamed if name not in expected]
        misfits = [
            f"{name} must be {tuple(expected[name].shape)}, got {tuple(value.shape)}"
            for name, value in renamed.items()
            if name in expected and value.shape != expected[name].shape
        ]
        if misfits or (strict and (missing or unexpected)) or not renamed.keys() & dict(self.named_parameters()).keys():
            problems = ([f"missing {name}" for name in missing], [f"unexpected {name}" for name in unexpected])
            raise WeightsMismatchError(
                f"{type(self).__name__}: the weights do not fit: {first_of(misfits, *problems)}; "
                f"{nearest_layout(plain_names(state_dict))}"
            )
        if strict and heads:
            logging.getLogger(__name__).warning(
                "%s: NOT LOADED, it has no classifier: %s", type(self).__name__, first_of(list(heads))
            )
        keys = super().load_state_dict(renamed, strict=False, assign=assign)
        keys.unexpected_keys.extend([] if strict else heads)
        return keys

    def _renamed(
        self, state_dict: Mapping[str, Any], expected: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weights under own names, and those of classifiers that the module does not have."""
        names, renamed, heads = self.published_names(), {}, {}
        for name, value in plain_names(state_dict).items():
            inner = name.removeprefix("backbone.")
            ours = next((own for own in (name, names.get(name), names.get(inner), inner) if own in expected), None)
            if ours is not None and ours not in renamed:
                renamed[ours] = value
            elif name.startswith(("head.", *HEADS)) and name not in names:
                heads[name] = value
            else:
                renamed[name] = value
        return renamed, heads

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rename_in(state_dict, prefix, self.published_names())
        super()._load_from_state_dict(state_dict, prefix, *args)


def rename_in(state: dict[str, Any], prefix: str, names: Names) -> None:
    """Renames a module's weights in place, in the state dict of a module around it; names not in the table stay."""
    for name in [name for name in state if name.startswith(prefix)]:
        renamed = names.get(name[len(prefix) :])
        if renamed is not None:
            state[prefix + renamed] = state.pop(name)
