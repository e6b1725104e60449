"""Curves of a training run, from its `metrics.jsonl`, and confusion matrices, each with a caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from torch import Tensor

from epam_data.shards.manifest import Manifest
from epam_data.show.page import GREY, STYLE, Plot, finish_plot, new_axes

History = Sequence[dict[str, Any]]
"""Lines of `metrics.jsonl`: `part`, `epoch`, `step`, and numbers by name."""

_TITLES = {
    "loss": ("Loss", ""),
    "loss_": ("Terms of the loss", ""),
    "top1_": ("Top-1 accuracy", "share of clips"),
    "top5_": ("Top-5 accuracy", "share of clips"),
    "mean_class_": ("Mean class accuracy", "mean over classes"),
    "f1_mean_": ("F1-mean", ""),
    "lr": ("Learning rate", ""),
    "grad_norm": ("Norm of the gradient", ""),
    "clips_per_second": ("Throughput", "clips per second"),
    "data_wait_share": ("Waiting for data", "share of the time"),
    "memory_gb": ("Memory", "GB, peak so far"),
}
"""Prefix of the logged names in a plot -> its title and unit; each other name gets its own plot."""

_NOT_SHOWN = ("part", "epoch", "step", "seconds_left", "f1_macro_", "f1_micro_")
_MAX_POINTS = 400  # of a curve; more are not visible, and would make the page large
_MAX_NAMED = 12  # number of classes whose names fit next to a matrix


def curves(history: History) -> list[Plot]:
    """A plot for each kind of value that the run logged."""
    names = dict.fromkeys(name for line in history for name, value in line.items() if isinstance(value, int | float))
    groups: dict[str, list[str]] = {}
    for name in names:
        if not name.startswith(_NOT_SHOWN):
            groups.setdefault(_group(name), []).append(name)
    order = [group for group in _TITLES if group in groups] + [group for group in groups if group not in _TITLES]
    with matplotlib.rc_context(STYLE):
        return [_curve(history, groups[group], *_TITLES.get(group, (group, ""))) for group in order]


def _group(name: str) -> str:
    return next((group for group in sorted(_TITLES, reverse=True) if name.startswith(group)), name)


def _curve(history: History, names: list[str], title: str, unit: str) -> Plot:
    axes = new_axes("step", unit)
    last_values = []
    colours = colormaps["tab20" if len(names) > 10 else "tab10"].colors  # type: ignore[attr-defined]
    for name, colour in zip(names, colours, strict=False):
        points = [(line["step"], line[name]) for line in history if name in line]
        steps, values = np.array(points, float).T
        few = len(points) <= 30
        axes.plot(_thinned(steps), _thinned(values), "o-" if few else "-", color=colour, label=name, ms=3, lw=1.2)
        last_values.append(f"{name} {values[-1]:.4g}")
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=7, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return finish_plot(title, f"at the end: {', '.join(last_values)}", axes)


def _thinned(values: Any) -> Any:
    """Means over neighbouring points, so that at most `_MAX_POINTS` remain."""
    return np.array([part.mean() for part in np.array_split(values, min(len(values), _MAX_POINTS))])


def confusion_plot(matrix: Tensor, manifest: Manifest, title: str) -> Plot:
    """For each class, the shares of its clips by predicted class; classes are sorted by coarse group, if any.

    Args:
        matrix: (K, K) int64, see `metrics.confusion_matrix`.
        manifest: for names and groups of the classes.
        title: title of the plot.
    """
    order = class_order(manifest)
    counts = matrix[order][:, order].numpy().astype(float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right, total = int(matrix.trace()), int(matrix.sum())
    with matplotlib.rc_context(STYLE):
        axes = new_axes("predicted", "label", height=7.0, width=7.6)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none", aspect="equal")
        axes.figure.colorbar(image, ax=axes, fraction=0.04, label="share of the label's clips")
        ticks, names = zip(*_ticks(manifest, order), strict=True)
        axes.set_xticks(ticks, names, rotation=90, fontsize=8)
        axes.set_yticks(ticks, names, fontsize=8)
        for edge in _edges(manifest, order):
            axes.axhline(edge, color=GREY, linewidth=0.6)
            axes.axvline(edge, color=GREY, linewidth=0.6)
        axes.tick_params(length=0)
        return finish_plot(title, f"{right:,} of {total:,} clips are on the diagonal; lines separate the groups", axes)


def class_order(manifest: Manifest) -> list[int]:
    """Labels by coarse group, then by number."""
    return sorted(range(len(manifest.classes)), key=lambda label: (*manifest.coarse_of[label : label + 1], label))


def _ticks(manifest: Manifest, order: list[int]) -> Iterator[tuple[float, str]]:
    """Positions and names of ticks: for few classes their names, else those of groups; without groups, some labels."""
    if len(order) <= _MAX_NAMED:
        yield from enumerate(manifest.classes[label] for label in order)
        return
    if not manifest.groups:
        yield from ((label, str(label)) for label in range(0, len(order), 5))
        return
    groups = [manifest.coarse_of[label] for label in order]
    for group in sorted(set(groups)):
        yield groups.index(group) + (groups.count(group) - 1) / 2, manifest.groups[group]


def _edges(manifest: Manifest, order: list[int]) -> list[float]:
    groups = [manifest.coarse_of[label] for label in order] if manifest.groups else []
    return [number - 0.5 for number in range(1, len(groups)) if groups[number] != groups[number - 1]]
