"""Shards as a data set for MMEngine's loaders, in the layout of `PackActionInputs`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmaction.registry import DATASETS
from mmaction.structures import ActionDataSample
from mmengine.dataset import BaseDataset

from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.stream import BatchFinisher, StreamSettings
from epam_data.stream.batch import read_batch
from epam_data.stream.loading.clip_reader import ClipReader
from epam_data.stream.order.draws import Draw, draw_evaluation, draw_training

_OF_LOADERS = ("batch_size", "window_shards", "workers", "timeout_seconds", "balance", "class_weights")
"""Keys of the section `stream` that MMEngine's loader and sampler decide instead."""


@DATASETS.register_module()
class ShardDataset(BaseDataset):
    """The samples of one split: they replace MMAction2's decoding, cropping and generation of heatmaps.

    It is a `BaseDataset` to MMEngine's wrappers (`RepeatDataset`, `ConcatDataset`, `ClassBalancedDataset`), but has no
    list of annotations: the index of the shards has what they ask for.

    The configuration needs no `pipeline`; the data preprocessor still normalises. In training, frames, flips and crops
    are drawn from torch's generator in the loader's worker, which MMEngine seeds, as for its own transforms.

    Args:
        root: the shard directory.
        split: `train`, `val` or `test`.
        test_mode: False: random frames, flips and crops; True: the fixed clips of evaluation.
        stream: how clips are sampled: keys of `StreamSettings`, such as `dict(rgb_frames=8, pose_frames=32)`; those of
            loader and order are refused.

    Attributes:
        metainfo: dict(classes=...), the names of the classes.

    Raises:
        ValueError: directory, split or settings do not fit.
    """

    def __init__(self, root: str, split: str, test_mode: bool = False, stream: dict[str, Any] | None = None) -> None:
        self.root, self.split, self.test_mode = Path(root), split, test_mode
        self.settings = _settings(stream or {})
        self.manifest = load_manifest(self.root)
        index = load_index(self.root, self.manifest)
        view = self.settings.clips(self.manifest, index)
        if split not in view.rows:
            raise ValueError(f"{root}: split {split!r} has no sample; there are {', '.join(view.rows)}")
        self.manifest, index, self._rows = view.manifest, view.index, view.rows[split]
        self._fully_initialized = True  # what BaseDataset asks before most of its methods
        self._reader = ClipReader(self.root, self.manifest, index, self.settings, training=not test_mode)
        self._metainfo = {"classes": list(self.manifest.classes)}

    def __len__(self) -> int:
        return len(self._rows)

    def full_init(self) -> None:
        """Nothing: the index was read when the data set was made."""

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """What the index says of a sample: `sample_idx`, `video_id` (its key), `total_frames`, `label` (-1: hidden)."""
        row = self._reader.index.row(int(self._rows[idx]))
        return {
            "sample_idx": idx % len(self),
            "video_id": row.key,
            "total_frames": row.num_frames,
            "label": row.label,
        }

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of a sample in a list, which is empty if the label is hidden."""
        label = int(self._reader.index.label[self._rows[idx]])
        return [label] if label >= 0 else []

    def get_subset(self, indices: Sequence[int] | int) -> ShardDataset:
        """A data set of some samples; n: the first n; -n: the last n."""
        subset = copy.copy(self)
        subset.get_subset_(indices)
        return subset

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keeps some samples only, see `get_subset`."""
        if isinstance(indices, int):
            self._rows = self._rows[:indices] if indices >= 0 else self._rows[indices:]
        else:
            self._rows = self._rows[list(indices)]

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample.

        Returns:
            `inputs`: imgs (C, 3, T, S, S) uint8, heatmap_imgs (C, V, T', h, w) float32, of its C clips (training: 1);
            `data_samples`: an `ActionDataSample` with `gt_label` (1,), none where the label is hidden, and the meta
            keys `video_id` (the sample's key) and `img_shape`.

        Raises:
            ValueError: the sample cannot be read; the message names shard and key.
        """
        row = self._rows[[number]]
        batch = read_batch(self._reader, row, row, self._draws(int(self._reader.index.num_frames[row[0]]), number))
        rgb, pose = self._finisher.clips(batch)
        sample = ActionDataSample()
        if (label := int(batch.label[0])) >= 0:
            sample.set_gt_label(label)
        sample.set_metainfo({"video_id": batch.keys[0], "img_shape": tuple(rgb.shape[-2:])})
        imgs = rgb.round().to(torch.uint8)  # exact, except after crops or changes of colour
        return {"inputs": {"imgs": imgs, "heatmap_imgs": pose}, "data_samples": sample}

    def _draws(self, num_frames: int, number: int) -> list[Draw]:
        if self.test_mode:
            return draw_evaluation(num_frames, self.settings)
        seed = int(torch.randint(2**31, ()))
        return [draw_training(num_frames, self.settings, seed=seed, epoch=0, position=number)]

    @cached_property
    def _finisher(self) -> BatchFinisher:
        return BatchFinisher.for_shards(self.manifest)


def _settings(stream: dict[str, Any]) -> StreamSettings:
    known = [each.name for each in fields(StreamSettings) if each.name not in _OF_LOADERS]
    if unknown := [key for key in stream if key not in known]:
        raise ValueError(f"stream must have keys of {', '.join(known)}, got {', '.join(unknown)}")
    return StreamSettings(**stream)
