"""The logs of a run: `train.log` and the terminal, `metrics.jsonl`, TensorBoard and a progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from epam_data.system.files import atomic_write_bytes
from epam_data.system.progress import duration
from epam_model.evaluate.metrics import split_name

LOG, METRICS, TENSORBOARD = "train.log", "metrics.jsonl", "tensorboard"


class RunLog:
    """Writes the logs of a run into its folder; only the main rank writes. A context manager.

    Args:
        out: the run folder.
        is_main: whether this rank writes.
        resumed_at: optimiser steps of the checkpoint from which the run resumes. Values that the interrupted run logged
            after it are removed from the metrics and TensorBoard, as if there had been no interruption; the text log
            keeps them. None: a new run, which replaces all three.
        evaluated_epochs: how many epochs were evaluated up to that checkpoint; it may precede an evaluation.
    """

    def __init__(self, out: Path, *, is_main: bool, resumed_at: int | None = None, evaluated_epochs: int = 0) -> None:
        self._is_main, self._bar = is_main, None
        if not is_main:
            return
        if resumed_at is not None:
            _drop_after(out / METRICS, resumed_at, evaluated_epochs)
        mode = "w" if resumed_at is None else "a"
        self._log = (out / LOG).open(mode, buffering=1, encoding="utf-8")  # line by line
        self._metrics = (out / METRICS).open(mode, buffering=1, encoding="utf-8")
        if resumed_at is None:
            shutil.rmtree(out / TENSORBOARD, ignore_errors=True)
        purge = None if resumed_at is None else resumed_at + 1
        self._tensorboard = SummaryWriter(str(out / TENSORBOARD), purge_step=purge)

    _bar: tqdm[Any] | None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_main:
            self.close_bar()
            for file in (self._log, self._metrics, self._tensorboard):
                file.close()

    def line(self, text: str) -> None:
        """Write one line to the terminal and the text log."""
        if self._is_main:
            _show(text)
            self._log.write(f"{text}\n")

    def values(self, part: str, values: dict[str, float], *, epoch: int, progress: tuple[int, int], step: int) -> None:
        """Write the values of a step to all logs; as text: `Epoch(val) [3][40/40]  top1_fused: 0.8125  ...`.

        To keep the text line short, it has only the metrics of the main scores of an evaluation, and top-1 of the
        others.

        Args:
            part: `train` or `val`.
            values: values by name.
            epoch: from 1.
            progress: (steps done, steps of the epoch).
            step: optimiser steps so far.
        """
        if not self._is_main:
            return
        shown = headlines(values) if part == "val" else values
        text = "  ".join(as_text(name, value) for name, value in shown.items())
        self.line(f"Epoch({part}) [{epoch}][{progress[0]}/{progress[1]}]  {text}")
        finite = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no NaN
        self._metrics.write(f"{json.dumps({'part': part, 'epoch': epoch, 'step': step, **finite}, allow_nan=False)}\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(f"{part}/{name}", value, step)

    def pictures(self, pictures: Mapping[str, NDArray[np.uint8]], *, step: int) -> None:
        """Write pictures (H, W, 3), by name, to TensorBoard under `clips/`."""
        if self._is_main:
            for name, picture in pictures.items():
                self._tensorboard.add_image(f"clips/{name}", picture, step, dataformats="HWC")

    def open_bar(self, epoch: int, *, done: int, total: int) -> None:
        """Start the progress bar of an epoch, if there is a terminal."""
        if self._is_main and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=f"epoch {epoch}", unit="step", leave=False)

    def advance_bar(self) -> None:
        """Count one finished step."""
        if self._bar is not None:
            self._bar.update()

    def close_bar(self) -> None:
        """End the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _show(text: str) -> None:
    """Print a line. A terminal that is gone, a closed pipe or a full disk behind it does not stop the run."""
    if sys.stdout is None:  # closed by the caller, as `>&-` does
        return
    try:
        tqdm.write(text, file=sys.stdout)  # does not break a progress bar
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl` that can be read; damaged ones are left out. Empty if there is no such file."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            values = json.loads(line)
            if isinstance(values, dict) and {"part", "epoch", "step"} <= values.keys():
                found.append(values)
    return found


def headlines(metrics: Mapping[str, float]) -> dict[str, float]:
    """All metrics of the main scores, which come first; top-1 of the other scores; and values that are not metrics."""
    scores = {name: split_name(name) for name in metrics}
    first = next((of for _, of in scores.values() if of), "")
    return {name: metrics[name] for name, (kind, of) in scores.items() if of in (first, "") or kind == "top1"}


def as_text(name: str, value: float) -> str:
    """A value as `name: value`; the format depends on the name."""
    if name == "seconds_left":
        return f"time_left: {duration(value)}"
    if name.startswith("lr"):
        return f"{name}: {value:.4e}"
    if name.endswith("_share"):
        return f"{name}: {value:.1%}"
    return f"{name}: {value:.1f}" if name.endswith(("_per_second", "_gb")) else f"{name}: {value:.4f}"


def _drop_after(path: Path, step: int, evaluated_epochs: int) -> None:
    """Remove the lines of `metrics.jsonl` that were written after a checkpoint, and damaged ones."""
    kept = [
        values
        for values in read_metrics(path)
        if values["step"] <= step and (values["part"] != "val" or values["epoch"] <= evaluated_epochs)
    ]
    atomic_write_bytes(path, "".join(f"{json.dumps(values, allow_nan=False)}\n" for values in kept).encode())
