"""`Batch`: what a trainer receives. Pixels stay uint8 until they are on the device."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B clips of one rank; all tensors on one device."""

    keys: list[str]  # B sample keys
    position: Tensor  # (B,) int64, place of each clip in the epoch's order
    label: Tensor  # (B,) int64, -1: hidden
    coarse_label: Tensor  # (B,) int64, -1: hidden
    rgb: Tensor  # (B, T, S, S, 3) uint8
    heatmap: Tensor  # (B, T', V, h, w) uint8
    heatmap_scale: Tensor  # (B,) float32, the value of a stored 255
    flip: Tensor  # (B,) bool, to be mirrored on the device
    rgb_frames: Tensor  # (B, T) int64, frame numbers in the recording
    pose_frames: Tensor  # (B, T') int64

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device; copies overlap with work there if the batch is pinned."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (torch's DataLoader calls this)."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: object) -> Batch:
        assert callable(function)
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "keys"}
        return replace(self, **{name: function(tensor) for name, tensor in tensors.items()})
