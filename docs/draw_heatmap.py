"""Draw docs/heatmap.png: one joint, a limb, and the error of the stored values; `python docs/draw_heatmap.py [OUT]`."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from epam_data.samples.heatmap import draw_joints, draw_limbs, quantise

SIZE, SIGMA_PX = (12, 12), 0.6
ENDS = np.array([[[[3.3, 2.6], [8.4, 8.2]]]], np.float32)  # (M, T, V, 2): two joints
SCORES = np.array([[[0.9, 0.6]]], np.float32)

joint = draw_joints(ENDS, SCORES, SIZE, SIGMA_PX)[0, 0]
limb = draw_limbs(ENDS, SCORES, ((0, 1),), SIZE, SIGMA_PX)[0, 0]
error = np.abs(quantise(joint, 1.0) / np.float32(255) - joint) * 255

figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
for axis, values, title, top in (
    (axes[0], joint, "joint at (3.3, 2.6), score 0.9", 1.0),
    (axes[1], limb, "limb to (8.4, 8.2), score 0.6", 1.0),
    (axes[2], error, "error as stored, in 1 / 255", 0.5),
):
    picture = axis.imshow(values, vmin=0, vmax=top, cmap="viridis")
    axis.set(title=title, xticks=range(0, 12, 3), yticks=range(0, 12, 3))
    figure.colorbar(picture, ax=axis, shrink=0.85)
out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("heatmap.png")
figure.savefig(out, dpi=80)
print(out)
