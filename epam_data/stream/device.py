"""Finish a batch on its device: crops, heatmaps, colours, flips, normalisation and layout, for all clips at once.

Nothing is random here: the batch contains the random choices, so CPU and GPU give the same result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from epam_data.shards.manifest import Manifest
from epam_data.stream.batch import Batch

RGB_MEAN = (123.675, 116.28, 103.53)
RGB_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet on 0 ... 255, as in the published recipes."""

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value of a pixel (ITU-R BT.601, as in torchvision)."""


class BatchFinisher(nn.Module):
    """uint8 batch -> model input. Has no parameters; works the same on CPU and GPU.

    Can be compiled. Can be exported for batches of one shape: `torch.export.export(finisher, (batch,))` with an empty
    list of keys; loading such a program needs `torch.serialization.add_safe_globals([Batch])`.

    Args:
        flip_order: V numbers: for each heatmap channel, the channel it is copied from in a mirrored clip.
        sigma_px: standard deviation of rendered Gaussians, in heatmap pixels.
    """

    flip_order: Tensor
    mean: Tensor
    std: Tensor
    grey: Tensor

    def __init__(self, flip_order: Sequence[int], sigma_px: float = 0.6) -> None:
        super().__init__()
        self.sigma_px = sigma_px
        self.register_buffer("flip_order", torch.tensor(flip_order), persistent=False)
        for name, values in (("mean", RGB_MEAN), ("std", RGB_STD), ("grey", GREY)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1, 1), persistent=False)

    @classmethod
    def for_shards(cls, manifest: Manifest) -> BatchFinisher:
        """The finisher for the channels of these shards."""
        layout = manifest.layout
        is_limbs = manifest.prepare.heatmap_kind == "limbs"
        return cls(layout.limb_flip_order if is_limbs else layout.flip_order, manifest.prepare.sigma_px)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised frames and float heatmaps of all clips.

        Returns:
            (N, 3, T, S, S) float32, normalised with ImageNet's mean and standard deviation; (N, V, T', h, w) float32,
            0 to the largest score.
        """
        rgb, pose = self.clips(batch)
        return (rgb - self.mean) / self.std, pose

    def clips(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Like `forward`, with frames in 0 ... 255, for a model that normalises them itself."""
        mirrored = batch.flip.view(-1, 1, 1, 1, 1)
        rgb = batch.rgb.permute(0, 1, 4, 2, 3).float()  # (N, T, 3, S, S)
        if batch.crop is not None:
            num, frames = rgb.shape[:2]
            rgb = resized_crop(rgb.flatten(1, 2), batch.crop, batch.rgb_size_px)
            rgb = rgb.view(num, frames, 3, batch.rgb_size_px, batch.rgb_size_px)
        rgb = rgb.transpose(1, 2)
        if batch.colour is not None:
            rgb = self._recoloured(rgb, batch.colour)
        rgb = torch.where(mirrored, rgb.flip(-1), rgb)
        pose = self._heatmap(batch)
        pose = torch.where(mirrored, pose[:, self.flip_order].flip(-1), pose)
        return rgb.contiguous(), pose.contiguous()

    def _heatmap(self, batch: Batch) -> Tensor:
        """(N, V, T', h, w) float32."""
        if batch.keypoints is not None:
            return draw_joints(batch.keypoints.transpose(2, 3), batch.heatmap_size_px, self.sigma_px)
        assert batch.heatmap is not None and batch.heatmap_scale is not None, "heatmaps are stored or drawn"
        return batch.heatmap.transpose(1, 2).float() * (batch.heatmap_scale / 255).view(-1, 1, 1, 1, 1)

    def _recoloured(self, rgb: Tensor, colour: Tensor) -> Tensor:
        """Brightness, then contrast around the mean grey of each frame; (N, 3, T, S, S) in 0 ... 255."""
        brightness, contrast = colour.view(-1, 2, 1, 1, 1, 1).unbind(1)
        rgb = (rgb * brightness).clamp(0, 255)
        grey = (rgb * self.grey).sum(1, keepdim=True).mean((-2, -1), keepdim=True)  # (N, 1, T, 1, 1)
        return (grey + (rgb - grey) * contrast).clamp(0, 255)


def resized_crop(images: Tensor, box: Tensor, size_px: int) -> Tensor:
    """Crop and resize each image, bilinear between pixel centres, as OpenCV resizes a cropped image.

    Args:
        images: (N, C, H, W) float.
        box: (N, 4) x1, y1, x2, y2 as fractions of the image.
        size_px: height and width of the result.

    Returns:
        (N, C, size_px, size_px) float. Only pixels inside the box are used; its edge pixels are repeated.
    """
    height, width = images.shape[2:]
    first, last = box.view(-1, 2, 2, 1).unbind(1)  # (N, 2, 1): x and y
    extent = torch.tensor([width, height], dtype=box.dtype, device=box.device).view(1, 2, 1)
    low, high = first * extent, last * extent
    centres = (torch.arange(size_px, dtype=box.dtype, device=box.device) + 0.5) / size_px
    pixels = (low + (high - low) * centres - 0.5).clamp(low, torch.maximum(high - 1, low))
    x, y = (pixels * 2 / (extent - 1) - 1).unbind(1)  # pixel centres are at -1 ... 1
    grid = torch.stack([x[:, None, :].expand(-1, size_px, -1), y[:, :, None].expand(-1, -1, size_px)], dim=-1)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def draw_joints(keypoints: Tensor, size_px: int, sigma_px: float) -> Tensor:
    """One Gaussian per visible joint, persons combined by maximum, as in `epam_data.samples.heatmap.draw_joints`.

    Args:
        keypoints: (N, M, V, T', 3) float64: x, y in heatmap pixels, height; finite, height 0: missing.
        size_px: height and width of the heatmap.
        sigma_px: standard deviation in heatmap pixels.

    Returns:
        (N, V, T', size_px, size_px) float32. A Gaussian is the outer product of two curves, one per axis.
    """
    x, y, height = keypoints.unbind(-1)
    columns = _curve(x, size_px, sigma_px)
    rows = _curve(y, size_px, sigma_px) * height.float()[..., None]
    heatmap = rows[:, 0, ..., :, None] * columns[:, 0, ..., None, :]
    for person in range(1, keypoints.shape[1]):  # one at a time, to save memory
        heatmap = torch.maximum(heatmap, rows[:, person, ..., :, None] * columns[:, person, ..., None, :])
    return heatmap


def _curve(centre: Tensor, size_px: int, sigma_px: float) -> Tensor:
    """exp(-(pixel - centre)^2 / 2 sigma^2) for the pixels from int(centre - 3 sigma) to int(centre + 3 sigma), else 0.

    Args:
        centre: (...) float64: float32 bounds fall on the other side of an integer about once per clip.
        size_px: number of pixels.
        sigma_px: standard deviation in pixels.

    Returns:
        (..., size_px) float32.
    """
    centre = centre[..., None]
    pixels = torch.arange(size_px, dtype=centre.dtype, device=centre.device)
    inside = (pixels >= (centre - 3 * sigma_px).trunc()) & (pixels <= (centre + 3 * sigma_px).trunc())
    off = (pixels - centre).float()
    return torch.where(inside, torch.exp(off * off * (-0.5 / sigma_px**2)), torch.zeros_like(off))
