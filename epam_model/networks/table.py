"""The networks and the heads that a recipe can name. To add one, add an entry here and its name in `settings`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from epam_model.networks.epam import EPAMBackbone
from epam_model.networks.heads import Head, StreamHead, TwoStreamHead
from epam_model.networks.resnet_path import pose_path, rgb_path
from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.networks.settings import ModelSettings
from epam_model.networks.two_streams import StreamBackbone, TwoStreamBackbone
from epam_model.networks.x_shift_net import pose_stream, rgb_stream
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import PublishedNames
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """One network. Its modules name its parts for `train.lr_factors`, see `two_streams.HasParts`."""

    both: Callable[[ModelSettings, int], TwoStreamBackbone]
    """Builds the two-stream backbone, from the `model` section of a recipe and the number of joints."""
    alone: Mapping[str, Callable[[int], StreamBackbone]]
    """Stream -> builds its backbone alone, from the number of joints; its weights have the same names as in `both`."""
    clip_frames: tuple[int, int]
    """Frames of the published clips, RGB and pose."""
    published: PublishedNames | None = None
    """Names of its weights in published checkpoints; None: only our own checkpoints can be loaded."""


def _epam(settings: ModelSettings, num_joints: int) -> EPAMBackbone:
    return EPAMBackbone(
        attention_type=settings.attention_type,
        freeze_rgb=settings.freeze_rgb,
        freeze_pose=settings.freeze_pose,
        num_joints=num_joints,
    )


def _rgbpose_conv3d(settings: ModelSettings, num_joints: int) -> RGBPoseConv3D:
    return RGBPoseConv3D(
        num_joints=num_joints,
        interaction=settings.interaction,
        freeze_rgb=settings.freeze_rgb,
        freeze_pose=settings.freeze_pose,
    )


NETWORKS: dict[str, NetworkSpec] = {
    "epam": NetworkSpec(
        both=_epam,
        alone={"rgb": lambda num_joints: rgb_stream(), "pose": pose_stream},
        clip_frames=(16, 48),
        published=EPAM,
    ),
    "rgbpose_conv3d": NetworkSpec(
        both=_rgbpose_conv3d,
        alone={"rgb": lambda num_joints: rgb_path(), "pose": pose_path},
        clip_frames=(8, 32),
        published=RGBPOSE_CONV3D,
    ),
}
"""`model.network` -> its entry."""


def _linear(settings: ModelSettings, channels: Mapping[str, int], num_classes: int, num_groups: int) -> Head:
    return _head(settings, channels, num_classes, 0)


def _pcan(settings: ModelSettings, channels: Mapping[str, int], num_classes: int, num_groups: int) -> Head:
    if num_groups < 2:
        raise ValueError(f"model.head pcan needs at least two coarse groups, the data set has {num_groups}")
    return _head(settings, channels, num_classes, num_groups)


def _head(settings: ModelSettings, channels: Mapping[str, int], num_classes: int, num_groups: int) -> Head:
    rectification = {"rgb": settings.rgb_rectification, "pose": settings.pose_rectification}
    if len(channels) == 2:
        return TwoStreamHead(
            num_classes,
            channels["rgb"],
            channels["pose"],
            settings.dropout,
            num_coarse_classes=num_groups,
            rgb_rectification=rectification["rgb"],
            pose_rectification=rectification["pose"],
        )
    ((stream, width),) = channels.items()
    return StreamHead(
        stream,
        width,
        num_classes,
        num_coarse_classes=num_groups,
        dropout=settings.dropout,
        rectification=rectification[stream],
    )


HEADS: dict[str, Callable[[ModelSettings, Mapping[str, int], int, int], Head]] = {"linear": _linear, "pcan": _pcan}
"""`model.head` -> builds it from (settings, channels of the features by stream, number of classes, number of coarse
groups). Its loss is the entry of the same name in `losses.objective.OBJECTIVES`."""
