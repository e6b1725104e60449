"""The temporal shift: the only place where X-ShiftNet lets frames see each other."""

from __future__ import annotations

import torch
from torch import Tensor


def temporal_shift(x: Tensor, fold: int) -> Tensor:
    """Moves some channels one frame along the clip's own time axis; zeros enter at the ends.

    Channels [0, fold) take the next frame, [fold, 2 * fold) the previous one, the rest stay. It has no
    parameters and costs no multiplications (Lin et al., TSM, ICCV 2019, bidirectional form).

    Args:
        x: features (B, C, T, H, W), any float dtype; not changed in place.
        fold: channels that move each way, 0 <= 2 * fold <= C.

    Returns:
        Features of the same shape, dtype and memory format.

    Raises:
        ValueError: if x is not 5-D, or fold does not fit its channels.
    """
    if x.ndim != 5:
        raise ValueError(f"temporal_shift: x must be (B, C, T, H, W), got {tuple(x.shape)}")
    if not 0 <= 2 * fold <= x.shape[1]:
        raise ValueError(f"temporal_shift: fold must be in [0, C / 2] with C = {x.shape[1]} channels, got {fold}")
    out = torch.zeros_like(x)
    out[:, :fold, :-1] = x[:, :fold, 1:]
    out[:, fold : 2 * fold, 1:] = x[:, fold : 2 * fold, :-1]
    out[:, 2 * fold :] = x[:, 2 * fold :]
    return out
