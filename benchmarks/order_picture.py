"""Draws the picture of an epoch's order in `docs/streaming.md`, from a real order.

    python -m benchmarks.order_picture

Writes `docs/streaming_order.png`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from epam_data.stream.order.order import EpochOrder, training_positions

SHARDS, SAMPLES, WINDOW, WORLD, BATCH = 6, 6, 3, 2, 6
OUT = Path(__file__).parents[1] / "docs" / "streaming_order.png"


def main() -> None:
    """Draw and write."""
    order = EpochOrder([SAMPLES] * SHARDS, seed=1, epoch=0, window_shards=WINDOW)
    num = len(order)
    epoch = order.samples(np.arange(num))
    windows = epoch.reshape(-1, WINDOW * SAMPLES)
    # The shards of each window, in the order of the epoch.
    shuffled = np.concatenate(
        [np.arange(shard * SAMPLES, (shard + 1) * SAMPLES) for shard in order._shards.tolist()]  # the drawn order
    )
    assert all(set(a) == set(b) for a, b in zip(windows, shuffled.reshape(windows.shape), strict=True))
    mpl.rcParams.update({"font.size": 8})
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    rows = [
        ("storage: shards", np.arange(num)),
        ("1. shards permuted,\ncut into windows", shuffled),
        ("2. samples permuted\ninside each window", epoch),
    ]
    for height, (name, samples) in enumerate(rows):
        _strip(axes, -height * 1.4, samples, name)
    for window in range(len(windows)):
        for height in (1, 2):
            corner = (window * WINDOW * SAMPLES - 0.06, -height * 1.4 - 0.12)
            axes.add_patch(Rectangle(corner, WINDOW * SAMPLES + 0.02, 1.14, fill=False, lw=1.6))
    for rank in range(WORLD):
        y = -(len(rows) + rank) * 1.4 + 0.3 * rank
        steps = range(num // BATCH)
        positions = np.concatenate([training_positions(step, BATCH, rank, WORLD) for step in steps])
        _strip(axes, y, epoch[positions], f"rank {rank}", positions)
    for step in range(1, num // BATCH):
        axes.axvline(step * BATCH - 0.06, ymin=0, ymax=0.38, color="black", lw=0.8, ls=":")
    axes.set(xlim=(-7, num + 0.2), ylim=(-(len(rows) + WORLD - 1) * 1.4 + 0.1, 1.1))
    axes.set_axis_off()
    figure.savefig(OUT, dpi=110)


def _strip(
    axes: mpl.axes.Axes, y: float, samples: NDArray[np.int64], name: str, positions: NDArray[np.int64] | None = None
) -> None:
    """Draw a row of samples at their positions, coloured by shard, and labelled by shard and position in it."""
    colours = mpl.colormaps["Set2"]
    axes.text(-0.4, y + 0.45, name, ha="right", va="center")
    for x, sample in zip(range(len(samples)) if positions is None else positions, samples.tolist(), strict=True):
        shard, position = divmod(sample, SAMPLES)
        axes.add_patch(Rectangle((x, y), 0.9, 0.9, color=colours(shard)))
        axes.text(x + 0.45, y + 0.42, f"{shard}{'abcdef'[position]}", ha="center", va="center", fontsize=6)


if __name__ == "__main__":
    main()
