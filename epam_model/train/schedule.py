"""The learning rate as a pure function of the step, so that a resumed run needs no state for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

Schedule = Literal["cosine", "multistep", "constant"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)


def learning_rate(
    step: int,
    *,
    total_steps: int,
    warmup_steps: int,
    peak: float,
    minimum: float = 0.0,
    schedule: str = "cosine",
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
) -> float:
    """Linear warm-up, then the schedule, both per step.

    During warm-up the rate is peak * (step + 1) / warmup_steps. After it:

    - `cosine`: with t = step - warmup_steps of T = total_steps - warmup_steps steps, it is
      minimum + (peak - minimum) * (1 + cos(pi * t / T)) / 2, as torch's `CosineAnnealingLR`: the first step has the
      peak, and the step after the last would have the minimum.
    - `multistep`: peak * gamma^n after n milestones, as torch's `MultiStepLR`.
    - `constant`: peak.

    Args:
        step: optimiser steps taken so far, from 0.
        total_steps: steps of the complete training.
        warmup_steps: steps of the warm-up; may be 0.
        peak: the highest rate.
        minimum: the lowest rate of the cosine.
        schedule: one of `SCHEDULES`.
        milestones: steps at which the rate is multiplied by gamma.
        gamma: factor at each milestone.

    Raises:
        ValueError: an unknown schedule, a step outside 0 ... total_steps, or a warm-up longer than the training.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"warmup_steps must be in 0..{total_steps} (the complete training), got {warmup_steps}")
    if not 0 <= step <= total_steps:
        raise ValueError(f"step must be in 0..{total_steps}, got {step}")
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    if schedule == "multistep":
        return peak * gamma ** sum(step >= milestone for milestone in milestones)
    if step == total_steps:
        return minimum
    phase = (step - warmup_steps) / (total_steps - warmup_steps)
    return minimum + (peak - minimum) * (1 + math.cos(math.pi * phase)) / 2
