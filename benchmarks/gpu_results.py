"""How a check of `benchmarks.gpu` says that it cannot run here, and how far off two results are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class SkippedError(Exception):
    """The check cannot run here; the message says why."""


def distance(mine: Iterable[Tensor], theirs: Iterable[Tensor]) -> float:
    """The norm of the difference of all tensors over the norm of `theirs`, in float64 on the CPU."""
    pairs = [(a.detach().double().cpu(), b.detach().double().cpu()) for a, b in zip(mine, theirs, strict=True)]
    off = torch.stack([(a - b).square().sum() for a, b in pairs]).sum().sqrt()
    size = torch.stack([b.square().sum() for _, b in pairs]).sum().sqrt()
    return float(off / size.clamp(min=1e-30))


def at_most(what: str, found: float, limit: float) -> str:
    """`found` as text, if it is at most `limit`; NaN is not.

    Raises:
        AssertionError: it is more.
    """
    if not found <= limit:
        raise AssertionError(f"{what} is off by {found:.2g}, at most {limit:g} is expected")
    return f"{what} {found:.1e}"
