"""The most extreme clips by each measure: not errors, but worth a look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from epam_data.check.check_shard import ClipMeasures


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The most extreme clips of one measure."""

    title: str
    clips: tuple[tuple[str, str], ...]  # (key, value in words), the most extreme first


def rankings(measures: tuple[ClipMeasures, ...], length: int = 5) -> list[Ranking]:
    """One ranking per measure that at least one clip has."""
    found = []
    for title, (value, words) in _MEASURES.items():
        values = [(value(clip), clip) for clip in measures]
        # NaN: the clip has no such value. Ties are broken by key, so that the order of the shards does not matter.
        ranked = sorted(((-v, clip.key, clip) for v, clip in values if v == v), key=lambda row: row[:2])
        if ranked:
            best = tuple((key, words(clip)) for _, key, clip in ranked[:length])
            found.append(Ranking(title=title, clips=best))
    return found


def _mean_score(clip: ClipMeasures) -> float:
    known = [score for score in clip.joint_scores if score == score]
    return float(np.mean(known)) if known else float("nan")


_Measure = tuple[Callable[[ClipMeasures], float], Callable[[ClipMeasures], str]]

_MEASURES: dict[str, _Measure] = {
    "Largest heatmap error": (
        lambda clip: float("nan") if clip.heatmap_error is None else clip.heatmap_error,
        lambda clip: f"{clip.heatmap_error:.5f} of the scale",
    ),
    "RGB and pose furthest apart": (
        lambda clip: abs(clip.motion.lag) + clip.motion.margin if clip.motion and clip.motion.moves else float("nan"),
        lambda clip: f"{clip.motion.lag:+d} frames, better by {clip.motion.margin:.2f}" if clip.motion else "",
    ),
    "Most joints missing": (lambda clip: 1 - clip.visible, lambda clip: f"{1 - clip.visible:.1%}"),
    "Lowest mean score": (lambda clip: -_mean_score(clip), lambda clip: f"{_mean_score(clip):.2f}"),
    "Most joints outside the image": (
        lambda clip: clip.outside_image if clip.outside_image else float("nan"),
        lambda clip: f"{clip.outside_image:.1%} of the visible ones",
    ),
    "Smallest person box": (lambda clip: -max(clip.crop_px), lambda clip: f"{clip.crop_px[1]} x {clip.crop_px[0]} px"),
    "Fewest frames": (lambda clip: -clip.num_frames, lambda clip: f"{clip.num_frames} frames"),
    "Most JPEG bytes per frame": (
        lambda clip: clip.jpeg_bytes / clip.num_frames,
        lambda clip: f"{clip.jpeg_bytes / clip.num_frames / 1000:.1f} kB",
    ),
}
