"""Small raw data in MMAction2's layouts, small shards, and configs cut down to two iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from tests.data.raw_data import annotation, ntu_name, person, write_ma52, write_pickle, write_recording
from tests.model.tiny import write_shards

PIPELINES = Path(__file__).parents[2] / "pipelines" / "mmaction2"
CONFIGS = sorted(path.stem for path in PIPELINES.glob("*.py"))
NUM_TRAIN, NUM_VAL = 4, 2


def write_raw_ntu60(root: Path) -> None:
    """`skeleton/ntu60_2d.pkl` and `nturgbd_videos/NAME.mp4`: four clips to train, two to validate."""
    names, annotations = [], []
    for number in range(NUM_TRAIN + NUM_VAL):
        names.append(ntu_name(number, number + 1))
        keypoints = person(40 + 30 * number, seed=number)
        write_recording(root / "nturgbd_videos" / f"{names[-1]}.mp4", keypoints, seed=number)
        annotations.append(annotation(names[-1], number, keypoints[None].astype(np.float16)))
    splits = {"xsub_train": names[:NUM_TRAIN], "xsub_val": names[NUM_TRAIN:]}
    write_pickle(root / "skeleton" / "ntu60_2d.pkl", {"split": splits, "annotations": annotations})


def write_raw_ma52(root: Path) -> None:
    """`MA52_train.pkl`, `MA52_val.pkl` and `raw_videos/SPLIT/NAME.mp4`: four and two clips."""
    write_ma52(root)


def write_small_shards(root: Path) -> None:
    """The shards that the configs name, with frames of 32 and heatmaps of 8 pixels."""
    sizes = {"train": NUM_TRAIN, "val": NUM_VAL, "test": 2}
    for name in ("ntu60_xsub", "ntu60_epam_pcan", "ntu60_rgbpose"):
        write_shards(root / name, taxonomy="ntu60", **sizes)
    write_shards(root / "ma52_rgbpose", taxonomy="ma52", skeleton="ma52_28", **sizes)


def small_config(name: str, work_dir: Path, **changes: Any) -> Config:
    """A config of the repository for two iterations of two small clips, one validation and no loader processes."""
    config = Config.fromfile(PIPELINES / f"{name}.py")
    config.merge_from_dict(
        {
            "work_dir": str(work_dir),
            "train_cfg.max_epochs": 1,
            "train_dataloader.batch_size": 2,
            "default_hooks.logger.interval": 1,
            "randomness": {"seed": 3},
            **{
                f"{split}_dataloader.{key}": value
                for split in ("train", "val", "test")
                for key, value in (("num_workers", 0), ("persistent_workers", False))
            },
        }
    )
    for dataset in (config[f"{split}_dataloader"].dataset for split in ("train", "val", "test")):
        for step in dataset.get("pipeline", ()):
            if step.type == "Resize":
                step.scale = (64, 64)
        if dataset.type == "ShardDataset" and "crop_px" in dataset.get("stream", {}):
            dataset.stream.crop_px = 64
    config.merge_from_dict(changes)
    return config
