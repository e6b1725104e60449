"""MMAction2's own transforms on videos, up to the tensors that its loader returns.

    PYTHON -m benchmarks.mmaction_loading CLIPS.pkl

`benchmarks.loading` calls this with the interpreter of an environment with MMAction2 1.x; `make test-mmaction` creates
one in .venv-mmaction. The pickle contains, for each key of `TRANSFORMS`, the annotations of its clips as in
`PoseDataset`, and the flip pairs of joints. Prints the seconds per clip for each key as JSON.
"""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import mmaction.datasets.transforms  # noqa: F401  # registers; the wheel's models lack a module
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope

from benchmarks.measure import seconds_per_call

BATCH = 16
SAMPLE = [{"type": "MMUniformSampleFrames", "clip_len": {"RGB": 16, "Pose": 48}}, {"type": "MMDecode"}]
CROP = [
    {"type": "MMCompact", "hw_ratio": 1.0, "allow_imgpad": True},
    {"type": "Resize", "scale": (256, 256), "keep_ratio": False},
    {"type": "RandomResizedCrop", "area_range": (0.56, 1.0)},
    {"type": "Resize", "scale": (224, 224), "keep_ratio": False},
]
DRAW = [
    {"type": "GeneratePoseTarget", "sigma": 0.6, "use_score": True, "with_kp": True, "scaling": 0.25},
    {"type": "FormatShape", "input_format": "NCTHW"},
    {"type": "PackActionInputs", "collect_keys": ("imgs", "heatmap_imgs")},
]
TRANSFORMS = {  # RGBPoseConv3D's published pipeline; EPAM-Net's, whose videos are already crops of the persons
    "recordings": lambda flip: [*SAMPLE, *CROP, flip, *DRAW],
    "crops": lambda flip: [*SAMPLE, flip, *DRAW],
}


def seconds_per_clip(way: str, clips: list[dict[str, Any]], flip_pairs: list[tuple[int, int]]) -> float:
    """Seconds per clip for collated batches of `BATCH` clips."""
    left, right = zip(*flip_pairs, strict=True)
    compose = Compose(TRANSFORMS[way]({"type": "Flip", "flip_ratio": 0.5, "left_kp": left, "right_kp": right}))

    def load() -> dict[str, Any]:
        clip = clips[torch.randint(len(clips), ()).item()]
        return compose(copy.deepcopy(clip))

    batch = load()["inputs"]
    joints = clips[0]["keypoint"].shape[2]
    shapes = [tuple(batch[name].shape) for name in ("imgs", "heatmap_imgs")]
    expected = [(1, 3, 16, 224, 224), (1, joints, 48, 56, 56)]
    if shapes != expected:
        raise ValueError(f"{way}: expected {expected}, got {shapes}")
    return seconds_per_call(lambda: pseudo_collate([load() for _ in range(BATCH)]), repeats=3) / BATCH


def main() -> None:
    """Measure the clips of the pickle."""
    torch.set_num_threads(1)
    DefaultScope.get_instance("benchmark", scope_name="mmaction")
    content = pickle.loads(Path(sys.argv[1]).read_bytes())
    print(json.dumps({way: seconds_per_clip(way, content[way], content["flip_pairs"]) for way in TRANSFORMS}))


if __name__ == "__main__":
    main()
