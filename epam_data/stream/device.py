"""Finish a batch on its device: float conversion, normalisation, layout and flips, for the whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from epam_data.index import Manifest
from epam_data.skeleton import LAYOUTS
from epam_data.stream.batch import Batch

RGB_MEAN = (123.675, 116.28, 103.53)
RGB_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet on 0 ... 255, as in the published recipes."""


class BatchFinisher(nn.Module):
    """uint8 batch -> what a model takes. Has no parameters; works the same on CPU and GPU.

    Args:
        flip_order: V numbers: the channel whose mirror image each heatmap channel becomes.
    """

    flip_order: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, flip_order: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("flip_order", torch.tensor(flip_order), persistent=False)
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(RGB_STD).view(1, 3, 1, 1, 1), persistent=False)

    @classmethod
    def for_shards(cls, manifest: Manifest) -> BatchFinisher:
        """The finisher for the channels of these shards."""
        layout = LAYOUTS[manifest.skeleton]
        is_limbs = manifest.prepare["heatmap_kind"] == "limbs"
        return cls(layout.limb_flip_order if is_limbs else layout.flip_order)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised frames and float heatmaps.

        Returns:
            (B, 3, T, S, S) float32, mean 0 and standard deviation 1 of natural images; (B, V, T', h, w) float32,
            0 to the largest score.
        """
        mirrored = batch.flip.view(-1, 1, 1, 1, 1)
        rgb = batch.rgb.permute(0, 4, 1, 2, 3).float()
        rgb = (rgb - self.mean) / self.std
        rgb = torch.where(mirrored, rgb.flip(-1), rgb)
        pose = batch.heatmap.transpose(1, 2).float() * (batch.heatmap_scale / 255).view(-1, 1, 1, 1, 1)
        pose = torch.where(mirrored, pose[:, self.flip_order].flip(-1), pose)
        return rgb.contiguous(), pose.contiguous()
