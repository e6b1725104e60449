"""The loss that training minimises: one objective for each kind of head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from epam_model.losses.cross_entropy import cross_entropies
from epam_model.losses.pcan import PCANLosses
from epam_model.losses.settings import LossSettings
from epam_model.networks.heads import Logits, prototype_banks


def _no_state(taken: bool) -> None:
    pass


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """What training minimises."""

    terms: Callable[[Logits, Tensor], dict[str, Tensor]]
    """(logits of B clips and K classes, labels (B,) int64 in 0 ... K - 1) -> weighted scalars by name: the loss is
    their sum. Clips with a hidden label must not be passed."""
    end_step: Callable[[bool], None] = _no_state
    """Called after all parts of a batch, with whether the optimiser stepped; for state of an objective besides the
    weights."""


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The loss, a scalar: the sum of the terms."""
    return torch.stack(tuple(terms.values())).sum()


def _cross_entropy(model: nn.Module, settings: LossSettings, coarse_of: Sequence[int]) -> Objective:
    return Objective(terms=partial(cross_entropies, settings))


def _pcan(model: nn.Module, settings: LossSettings, coarse_of: Sequence[int]) -> Objective:
    losses = PCANLosses(settings, coarse_of, prototype_banks(model)).to(next(model.parameters()).device)
    return Objective(terms=losses, end_step=losses.end_step)


OBJECTIVES: dict[str, Callable[[nn.Module, LossSettings, Sequence[int]], Objective]] = {
    "linear": _cross_entropy,
    "pcan": _pcan,
}
"""`model.head`, as in `networks.table.HEADS` -> makes its objective from a model on its device, the factors of the
terms, and the coarse label of each class."""
