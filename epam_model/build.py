"""From a recipe's `model` section to a network with its first weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from epam_data.shards.manifest import Manifest
from epam_model.networks.epam import EPAMBackbone
from epam_model.networks.heads import StreamHead, TwoStreamHead
from epam_model.networks.recogniser import TwoStreamRecogniser
from epam_model.networks.resnet_path import ResNetPath, pose_path, rgb_path
from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.networks.settings import ModelSettings
from epam_model.networks.single_stream import SingleStreamRecogniser
from epam_model.networks.x_shift_net import XShiftNet, pose_stream, rgb_stream
from epam_model.weights.convert import load_foreign, model_formats


def build_model(
    settings: ModelSettings,
    *,
    num_classes: int,
    num_joints: int,
    num_coarse_classes: int = 0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> nn.Module:
    """The network of a recipe, its weights drawn by the seed, then taken from `init_from`.

    Args:
        settings: which network.
        num_classes: number of classes.
        num_joints: channels of the heatmaps.
        num_coarse_classes: number of coarse groups; only a head `pcan` needs them.
        seed: of the weights. The same seed gives every rank the same ones.
        tell: gets one line for each file of `init_from`: what was taken from it.

    Raises:
        ValueError: a file of `init_from` is absent or does not fit, or a head `pcan` has less than two groups.
    """
    if settings.head == "pcan" and num_coarse_classes < 2:
        raise ValueError(f"model.head pcan needs at least two coarse groups, the data set has {num_coarse_classes}")
    torch.manual_seed(seed)
    groups = num_coarse_classes if settings.head == "pcan" else 0
    make = _two_streams if settings.streams == "both" else _one_stream
    model = make(settings, num_classes, num_joints, groups)
    for module in model.modules():
        if isinstance(module, XShiftNet | ResNetPath):
            module.checkpoint_activations = settings.checkpoint_activations
    for path in settings.init_from:
        conversion = load_foreign(model, Path(path), model_formats(settings.network, settings.streams))
        tell(f"{path}: {conversion.summary()}")
    return model


def build_for(
    settings: ModelSettings, manifest: Manifest, *, seed: int = 0, tell: Callable[[str], None] = lambda line: None
) -> nn.Module:
    """The network of a recipe, for the classes, groups and heatmaps of some shards; arguments as in `build_model`."""
    return build_model(
        settings,
        num_classes=len(manifest.classes),
        num_joints=manifest.num_channels,
        num_coarse_classes=len(manifest.groups),
        seed=seed,
        tell=tell,
    )


def _two_streams(settings: ModelSettings, num_classes: int, num_joints: int, groups: int) -> nn.Module:
    backbone: EPAMBackbone | RGBPoseConv3D
    if settings.network == "epam":
        backbone = EPAMBackbone(
            attention_type=settings.attention_type,
            freeze_rgb=settings.freeze_rgb,
            freeze_pose=settings.freeze_pose,
            num_joints=num_joints,
        )
    else:
        backbone = RGBPoseConv3D(
            num_joints=num_joints,
            interaction=settings.interaction,
            freeze_rgb=settings.freeze_rgb,
            freeze_pose=settings.freeze_pose,
        )
    head = TwoStreamHead(
        num_classes,
        backbone.rgb_channels,
        backbone.pose_channels,
        settings.dropout,
        num_coarse_classes=groups,
        rgb_rectification=settings.rgb_rectification,
        pose_rectification=settings.pose_rectification,
    )
    return TwoStreamRecogniser(backbone, head)


def _one_stream(settings: ModelSettings, num_classes: int, num_joints: int, groups: int) -> nn.Module:
    is_rgb = settings.streams == "rgb"
    backbone: XShiftNet | ResNetPath
    if settings.network == "epam":
        backbone = rgb_stream() if is_rgb else pose_stream(num_joints)
    else:
        backbone = rgb_path() if is_rgb else pose_path(num_joints)
    head = StreamHead(
        settings.streams,
        backbone.out_channels,
        num_classes,
        num_coarse_classes=groups,
        dropout=settings.dropout,
        rectification=settings.rgb_rectification if is_rgb else settings.pose_rectification,
    )
    return SingleStreamRecogniser(backbone, head)
