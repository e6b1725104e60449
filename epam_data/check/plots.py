"""Distributions of a checked set, each as an SVG plot with a text summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from epam_data.check.check import CheckReport
from epam_data.check.rules.motion import MAX_LAG
from epam_data.check.rules.splits import split_of_clips
from epam_data.schema import STORED_SPLITS
from epam_data.shards.codec import HEATMAP_TOLERANCE
from epam_data.show.page import BLUE, GREEN, GREY, ORANGE, STYLE, Plot, finish_plot, new_axes

_SPLIT_COLOURS = dict(zip(STORED_SPLITS, (BLUE, ORANGE, GREEN, GREY), strict=True))


def plots(report: CheckReport) -> list[Plot]:
    """Every distribution that the report has data for."""
    if not report.measures:
        return []
    with matplotlib.rc_context(STYLE):
        return [
            _frames(report),
            _classes(report),
            _scores(report),
            _persons(report),
            _crops(report),
            _jpeg_bytes(report),
            *_errors(report),
            *_lags(report),
        ]


def _frames(report: CheckReport) -> Plot:
    values = np.array([clip.num_frames for clip in report.measures])
    return _histogram("Frames per clip", "frames", values, "{:.0f}")


def _crops(report: CheckReport) -> Plot:
    values = np.array([max(clip.crop_px) for clip in report.measures])
    return _histogram("Person box, longer side", "pixels of the video", values, "{:.0f}")


def _jpeg_bytes(report: CheckReport) -> Plot:
    values = np.array([clip.jpeg_bytes / clip.num_frames / 1000 for clip in report.measures])
    return _histogram("JPEG size per frame", "kB, mean of a clip", values, "{:.1f}")


def _classes(report: CheckReport) -> Plot:
    manifest, index = report.manifest, report.index
    splits, num_classes = split_of_clips(manifest, index), len(manifest.classes)
    axes = new_axes("label", "clips")
    below, words = np.zeros(num_classes), []
    for split in STORED_SPLITS:
        labels = index.label[(splits == split) & (index.label >= 0) & (index.label < num_classes)]
        counts = np.bincount(labels, minlength=num_classes)
        if counts.any():
            axes.bar(np.arange(num_classes), counts, bottom=below, label=split, color=_SPLIT_COLOURS[split], width=0.85)
            below += counts
            words.append(f"{split} {_range(counts)} per class")
    if below.any():
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        axes.locator_params(integer=True)
    return finish_plot("Clips per class", "; ".join(words) or "every label is hidden", axes)


def _scores(report: CheckReport) -> Plot:
    scores = np.array([clip.joint_scores for clip in report.measures])
    joints = [name.replace("_", " ") for name in report.manifest.layout.joints]
    low, middle, high = np.array(
        [np.percentile(column[np.isfinite(column)], (5, 50, 95)) if np.isfinite(column).any() else (0, 0, 0)
         for column in scores.T]
    ).T  # fmt: skip
    axes = new_axes("mean over a clip: median, 5 to 95 %", "", height=0.9 + 0.17 * len(joints))
    rows = np.arange(len(joints))
    axes.hlines(rows, low, high, color=BLUE, alpha=0.35, linewidth=5)
    axes.plot(middle, rows, "o", color=BLUE, markersize=4)
    axes.set_yticks(rows, joints, fontsize=8)
    axes.set(ylim=(len(joints) - 0.5, -0.5), xlim=(0, max(1, high.max())))
    weakest = int(middle.argmin())
    return finish_plot("Score of each joint", f"lowest median: {joints[weakest]} {middle[weakest]:.2f}", axes)


def _persons(report: CheckReport) -> Plot:
    numbers, counts = np.unique([clip.num_persons for clip in report.measures], return_counts=True)
    axes = new_axes("persons", "clips")
    bars = axes.bar(numbers.astype(str), counts, color=BLUE, width=0.6)
    axes.bar_label(bars, padding=2)
    axes.margins(x=0.3, y=0.15)
    words = ", ".join(
        f"{count} clips with {number} {'person' if number == 1 else 'persons'}"
        for number, count in zip(numbers, counts, strict=True)
    )
    return finish_plot("Persons per clip", words, axes)


def _errors(report: CheckReport) -> Iterator[Plot]:
    errors = np.array([clip.heatmap_error for clip in report.measures if clip.heatmap_error is not None])
    if errors.size:
        unit, bound = "levels of 255; line: half a level", HEATMAP_TOLERANCE * 255
        yield _histogram("Heatmap error of each clip", unit, errors * 255, "{:.3f}", bound)


def _lags(report: CheckReport) -> Iterator[Plot]:
    motions = [clip.motion for clip in report.measures if clip.motion]
    if not motions:
        return
    moving = np.array([motion.lag for motion in motions if motion.moves], int)
    axes = new_axes("frames by which the pose is late", "clips that move")
    counts = np.bincount(moving + MAX_LAG, minlength=2 * MAX_LAG + 1)
    axes.bar(np.arange(-MAX_LAG, MAX_LAG + 1), counts, color=BLUE)
    axes.locator_params(integer=True)
    near = int((np.abs(moving) <= 1).sum())
    words = f"{len(moving)} of {len(motions)} clips move enough to judge; {near} of them match best within one frame"
    yield finish_plot("RGB against pose", words, axes)


def _histogram(title: str, unit: str, values: NDArray[Any], form: str, bound: float | None = None) -> Plot:
    axes = new_axes(unit, "clips")
    finite = values[np.isfinite(values)]  # a damaged clip can measure anything
    dropped = f"; {len(values) - len(finite)} not finite" if len(finite) < len(values) else ""
    if not finite.size:
        return finish_plot(title, f"no value{dropped}", axes)
    values = finite
    low, high = values.min(), values.max()
    bins = min(30, max(1, len(np.unique(values))))
    span = None if bound is None else (0, 1.1 * max(high, bound))  # the bound is always visible
    edges = np.histogram_bin_edges(values, bins=bins if span is None else 30, range=span)
    axes.hist(values, bins=edges, color=BLUE, edgecolor="white", linewidth=0.4)
    if bound is not None:
        axes.axvline(bound, color=ORANGE, linewidth=1.5)
    axes.locator_params(axis="y", integer=True)
    axes.locator_params(axis="x", nbins=6)
    words = [form.format(value) for value in (low, np.median(values), high)]
    return finish_plot(title, f"{words[0]} to {words[2]}, median {words[1]}{dropped}", axes)


def _range(counts: NDArray[Any]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high}" if low < high else str(low)
