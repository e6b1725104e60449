"""`Batch`: the trainer's input: uint8 pixels and the operations to apply to them on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epam_data.stream.loading.clip_reader import ClipReader
from epam_data.stream.order.draws import Draw
from epam_data.stream.page_lock import keep_until_copied

_OF_SAMPLES = ("position", "label", "coarse_label")
"""Tensors with one row per sample; the others have one per clip."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples of one rank, N = B * C clips; all tensors on one device.

    A sample has C clips: 1 in training, `num_clips` in evaluation. Sample b has the clips b * C ... b * C + C - 1.
    Tensors with one row per sample have B rows, those with one row per clip have N.
    """

    # A name that is a prefix of another comes after it (rgb_frames, then rgb): torch 2.13's export confuses them
    # otherwise.
    keys: list[str]  # B sample keys
    position: Tensor  # (B,) int64, position of each sample in the epoch
    label: Tensor  # (B,) int64, -1: hidden
    coarse_label: Tensor  # (B,) int64, -1: hidden, or no groups
    rgb_size_px: int  # height and width of the finished frames
    heatmap_size_px: int  # height and width of the finished heatmaps
    rgb_frames: Tensor  # (N, T) int64, frame numbers in the recording
    rgb: Tensor  # (N, T, S, S, 3) uint8, as stored
    pose_frames: Tensor  # (N, T') int64
    flip: Tensor  # (N,) bool, True: mirror it on the device
    # Either stored heatmaps ...
    heatmap_scale: Tensor | None = None  # (N,) float32, the value of a stored 255
    heatmap: Tensor | None = None  # (N, T', V, h, w) uint8
    # ... or keypoints to render them from, in heatmap pixels.
    keypoints: Tensor | None = None  # (N, M, T', V, 3) float64: x, y, height; height 0: missing
    # None: not applied to any clip.
    crop: Tensor | None = None  # (N, 4) float32, box x1, y1, x2, y2 as fractions of the stored frame
    colour: Tensor | None = None  # (N, 2) float32, factors of brightness and contrast

    @classmethod
    def of(cls, keys: list[str], arrays: dict[str, NDArray[Any]], sizes_px: tuple[int, int]) -> Batch:
        """A batch that shares memory with `arrays`, whose first rows are the samples of `keys`.

        Args:
            keys: B keys.
            arrays: the tensors by name, with room for at least B samples.
            sizes_px: `rgb_size_px` and `heatmap_size_px`.
        """
        capacity, num = len(arrays["label"]), len(keys)
        clips = len(arrays["rgb"]) // capacity * num
        tensors = {
            name: torch.from_numpy(array[: num if name in _OF_SAMPLES else clips]) for name, array in arrays.items()
        }
        return cls(keys=keys, rgb_size_px=sizes_px[0], heatmap_size_px=sizes_px[1], **tensors)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def num_clips(self) -> int:
        """C, clips of each sample."""
        return len(self.rgb) // len(self)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device; if the batch is page-locked, the copy to a GPU overlaps with work there."""
        # Other copies wait: only CUDA is asked below when it has read the memory, which is reused after that.
        to_gpu = torch.device(device).type == "cuda" and not self.label.is_cuda
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=to_gpu))
        if to_gpu:
            keep_until_copied(self, moved.label.device)
        return moved

    def pin_memory(self) -> Batch:
        """A copy of the batch in page-locked memory."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = function(value) if isinstance(value, Tensor) else value
        return Batch(**moved)


# Lets torch.export handle modules that take a batch, with `keys=[]`.
torch.export.register_dataclass(Batch, serialized_type_name="epam_data.Batch")


def read_batch(reader: ClipReader, rows: NDArray[np.int64], positions: NDArray[np.int64], draws: list[Draw]) -> Batch:
    """A batch in its own memory: the samples of `rows` (B,), with B * C draws, sample by sample.

    Raises:
        ValueError: a sample cannot be read, or does not fit the settings, see `ClipReader.fill_sample`.
    """
    num_clips = len(draws) // len(rows)
    decoder = reader.decoder
    arrays = decoder.layout(len(rows), num_clips, len(draws[0].rgb_frames), len(draws[0].pose_frames)).fresh()
    reader.expect(rows.tolist())
    keys = [
        reader.fill_sample(number, row, position, draws[number * num_clips : (number + 1) * num_clips], arrays)
        for number, (row, position) in enumerate(zip(rows.tolist(), positions.tolist(), strict=True))
    ]
    return Batch.of(keys, arrays, (decoder.rgb_size_px, decoder.heatmap_size_px))
