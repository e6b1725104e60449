"""Speed of a training, its waiting time for data, and the time that is left."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

import torch

from epam_data.stream import Batch
from epam_data.system.progress import duration

_FIRST_STEPS = 10
"""Steps of this process after which the total time is estimated."""


class Pace:
    """Metrics the time of this process's steps.

    Args:
        device: the model's device.
        clips_per_step: clips per step on all ranks together.
        steps_per_epoch: steps of an epoch.
    """

    def __init__(self, device: torch.device, *, clips_per_step: int, steps_per_epoch: int) -> None:
        self._device, self._clips_per_step, self._steps_per_epoch = device, clips_per_step, steps_per_epoch
        self._steps = 0  # of this process
        self._seconds = 0.0  # of all steps but the first, which compiles and allocates
        self._first_seconds = 0.0
        self._evaluation_seconds = 0.0  # of the last evaluation
        self._window_begun, self._window_steps, self._waited = time.perf_counter(), 0, 0.0
        self._step_begun = self._window_begun

    def epoch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of an epoch; measures how long the consumer waits for them."""
        self._window_begun = self._step_begun = time.perf_counter()
        self._window_steps, self._waited = 0, 0.0
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - begun
            if batch is None:
                return
            yield batch
            batch = None  # frees its memory for the next batch

    def step_done(self) -> None:
        """Call this after each step."""
        now = time.perf_counter()
        if self._steps == 0:
            self._first_seconds = now - self._step_begun
        else:
            self._seconds += now - self._step_begun
        self._step_begun = now
        self._steps += 1
        self._window_steps += 1

    def evaluation_done(self, seconds: float) -> None:
        """Call this after each evaluation, with the seconds that it took."""
        self._evaluation_seconds = seconds

    def values(self, *, steps_left: int) -> dict[str, float]:
        """Values to log about the steps since the last call.

        Returns:
            `clips_per_second` of all ranks; `data_wait_share`, the share of time that this rank waited for batches, 0
            to 1; `seconds_left` to the end of the training; `memory_gb`, the peak memory of this rank so far, on the
            GPU, or of the process if it has none.
        """
        now = time.perf_counter()
        seconds = max(now - self._window_begun, 1e-9)
        values = {
            "clips_per_second": self._window_steps * self._clips_per_step / seconds,
            "data_wait_share": self._waited / seconds,
            "seconds_left": self.seconds(steps_left),
            "memory_gb": self._peak_bytes() / 1e9,
        }
        self._window_begun, self._window_steps, self._waited = now, 0, 0.0
        return values

    def seconds(self, steps_left: int) -> float:
        """Expected seconds for `steps_left` steps and the evaluations among them, from the steps so far."""
        num_evaluations = -(-steps_left // self._steps_per_epoch)
        return steps_left * self._per_step() + num_evaluations * self._evaluation_seconds

    def estimate(self, *, steps_left: int) -> str | None:
        """One line after the first steps of this process, else None."""
        if self._steps != min(_FIRST_STEPS, self._steps_per_epoch):
            return None
        return (
            f"estimate: {self._per_step():.3g} s per step, {duration(self._per_step() * self._steps_per_epoch)} per "
            f"epoch, {duration(self._per_step() * steps_left)} to the end, besides evaluations"
        )

    def _per_step(self) -> float:
        return self._seconds / (self._steps - 1) if self._steps > 1 else self._first_seconds

    def _peak_bytes(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
