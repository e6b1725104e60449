"""`Batch`: what a trainer receives: uint8 pixels, and what the device is to do to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epam_data.stream.loading.clip_reader import ClipReader
from epam_data.stream.loading.slots import SharedSlots
from epam_data.stream.order.draws import Draw

_IN_FLIGHT: deque[tuple[torch.cuda.Event, Batch]] = deque()
"""Batches that a GPU is still copying: their memory must not be used again before."""

_OF_SAMPLES = ("position", "label", "coarse_label")
"""Tensors with one row per sample; the others have one per clip."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples of one rank, N = B * C clips; all tensors on one device.

    A sample has C clips: 1 in training, `num_clips` in evaluation. They lie one after another: sample b has the clips
    b * C ... b * C + C - 1. What belongs to a sample counts B, what belongs to a clip counts N.
    """

    # A name stands behind those that it begins (rgb_frames, then rgb): torch 2.13's export mixes them up otherwise.
    keys: list[str]  # B sample keys
    position: Tensor  # (B,) int64, place of each sample in the epoch's order
    label: Tensor  # (B,) int64, -1: hidden
    coarse_label: Tensor  # (B,) int64, -1: hidden, or no groups
    rgb_size_px: int  # height and width of the frames that the device is to make
    heatmap_size_px: int  # and of the heatmaps
    rgb_frames: Tensor  # (N, T) int64, frame numbers in the recording
    rgb: Tensor  # (N, T, S, S, 3) uint8, as stored
    pose_frames: Tensor  # (N, T') int64
    flip: Tensor  # (N,) bool, to be mirrored on the device
    # Either stored heatmaps ...
    heatmap_scale: Tensor | None = None  # (N,) float32, the value of a stored 255
    heatmap: Tensor | None = None  # (N, T', V, h, w) uint8
    # ... or the keypoints to draw them from, in pixels of the heatmap.
    keypoints: Tensor | None = None  # (N, M, T', V, 3) float64: x, y, height; height 0: missing
    # None: nothing of this is to be done to any clip.
    crop: Tensor | None = None  # (N, 4) float32, box x1, y1, x2, y2 as shares of the stored frame
    colour: Tensor | None = None  # (N, 2) float32, factors of brightness and contrast

    @classmethod
    def of(cls, keys: list[str], arrays: dict[str, NDArray[Any]], sizes_px: tuple[int, int]) -> Batch:
        """A batch over the memory of `arrays`, whose first rows hold the samples of `keys`.

        Args:
            keys: B keys.
            arrays: the tensors by name, for B samples or more.
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
        """The batch on another device; copies overlap with work there if the batch is pinned."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        if moved.label.is_cuda and not self.label.is_cuda:
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
            while _IN_FLIGHT and _IN_FLIGHT[0][0].query():  # type: ignore[no-untyped-call]
                _IN_FLIGHT.popleft()
            _IN_FLIGHT.append((copied, self))
        return moved

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory of its own."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = function(value) if isinstance(value, Tensor) else value
        return Batch(**moved)


# So that a module that takes a batch can be exported: with `keys=[]`, since a program knows no names.
torch.export.register_dataclass(Batch, serialized_type_name="epam_data.Batch")


def read_batch(reader: ClipReader, rows: NDArray[np.int64], positions: NDArray[np.int64], draws: list[Draw]) -> Batch:
    """A batch with memory of its own: the samples of `rows` (B,), with B * C draws, sample by sample.

    Raises:
        ValueError: a sample cannot be read, or the settings do not allow it, see `ClipReader.fill_sample`.
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


def page_lock(slots: SharedSlots) -> None:
    """Page-lock shared memory for as long as it is mapped, so that copies from it to a GPU overlap with work there.

    Raises:
        RuntimeError: CUDA refuses.
    """
    address, num_bytes = slots.address_and_size
    cuda = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    code = int(cuda.cudaHostRegister(address, num_bytes, 0))
    if code:
        raise RuntimeError(f"{num_bytes} bytes of batches cannot be page-locked (cudaHostRegister: {code})")
    slots.before_unmapping(cuda.cudaHostUnregister, address)
