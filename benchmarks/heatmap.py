"""Heatmaps of 48 x 17 keypoints on 56 x 56: ours against plain NumPy loops. `python -m benchmarks.heatmap`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import publish, seconds_per_call
from epam_data.samples.heatmap import draw_joints


def numpy_heatmap(
    keypoints: NDArray[np.floating], scores: NDArray[np.floating], size: int, sigma: float
) -> NDArray[np.float32]:
    """The usual loop of a data pipeline: one small patch per person, frame and joint, (T, V, size, size) float32."""
    num_persons, num_frames, num_joints = scores.shape
    out = np.zeros((num_frames, num_joints, size, size), np.float32)
    for frame in range(num_frames):
        for joint in range(num_joints):
            for person in range(num_persons):
                mu_x, mu_y = keypoints[person, frame, joint]
                score = scores[person, frame, joint]
                if score < 1e-4:
                    continue
                x1, x2 = max(int(mu_x - 3 * sigma), 0), min(int(mu_x + 3 * sigma) + 1, size)
                y1, y2 = max(int(mu_y - 3 * sigma), 0), min(int(mu_y + 3 * sigma) + 1, size)
                if x1 >= x2 or y1 >= y2:
                    continue
                x, y = np.arange(x1, x2), np.arange(y1, y2)[:, None]
                patch = score * np.exp(-((x - mu_x) ** 2 + (y - mu_y) ** 2) / (2 * sigma**2))
                window = out[frame, joint, y1:y2, x1:x2]
                np.maximum(window, patch, out=window)
    return out


def main() -> None:
    """Time both on the same keypoints, after checking that they agree."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 56, (1, 48, 17, 2))
    scores = rng.uniform(0.3, 1, (1, 48, 17))
    ours = draw_joints(keypoints, scores, (56, 56), 0.6)
    np.testing.assert_allclose(ours, numpy_heatmap(keypoints, scores, 56, 0.6), atol=1e-6)
    slow = seconds_per_call(lambda: numpy_heatmap(keypoints, scores, 56, 0.6))
    fast = seconds_per_call(lambda: draw_joints(keypoints, scores, (56, 56), 0.6))
    publish(
        "heatmap",
        [
            {"painter": "NumPy loops", "ms per clip": slow * 1e3, "times faster": 1.0},
            {"painter": "epam_data.samples.heatmap", "ms per clip": fast * 1e3, "times faster": slow / fast},
        ],
    )


if __name__ == "__main__":
    main()
