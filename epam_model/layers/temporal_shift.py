"""The temporal shift: the only operation of X-ShiftNet that mixes frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def temporal_shift(x: Tensor, fold: int) -> Tensor:
    """Shifts some channels by one frame in time; zeros enter at the ends.

    Channels [0, fold) take the next frame, [fold, 2 * fold) the previous one, the rest stay. It has no
    parameters and costs no multiplications (Lin et al., TSM, ICCV 2019, bidirectional form).

    Args:
        x: features (B, C, T, H, W), any float dtype; not changed in place.
        fold: channels shifted each way, 0 <= 2 * fold <= C.

    Returns:
        Features of the same shape, dtype and memory format.

    Raises:
        ValueError: if x is not 5-D, or fold does not fit its channels.
    """
    if x.ndim != 5:
        raise ValueError(f"temporal_shift: x must be (B, C, T, H, W), got {tuple(x.shape)}")
    if not 0 <= 2 * fold <= x.shape[1]:
        raise ValueError(f"temporal_shift: fold must be in [0, C / 2] with C = {x.shape[1]} channels, got {fold}")
    if torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling():
        shifted: Tensor = _Shift.apply(x, fold)  # type: ignore[no-untyped-call]
        return shifted
    return _shifted(x, fold, 1)


class _Shift(torch.autograd.Function):
    """The shift with its gradient, the opposite shift, in one pass; autograd would copy each part separately."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fold: int) -> Tensor:
        ctx.fold = fold
        return _shifted(x, fold, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _shifted(gradient, ctx.fold, -1), None


def _shifted(x: Tensor, fold: int, direction: int) -> Tensor:
    """`temporal_shift` for direction 1, its transpose for -1."""
    ahead, behind = slice(None, fold), slice(fold, 2 * fold)
    if direction < 0:
        ahead, behind = behind, ahead
    out = torch.empty_like(x)
    out[:, ahead, :-1] = x[:, ahead, 1:]
    out[:, ahead, -1:] = 0
    out[:, behind, 1:] = x[:, behind, :-1]
    out[:, behind, :1] = 0
    out[:, 2 * fold :] = x[:, 2 * fold :]
    return out
