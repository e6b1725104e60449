"""Builds the network of a recipe's `model` section, with its initial weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from epam_data.shards.manifest import Manifest
from epam_model.layers.checkpointing import Checkpointing
from epam_model.networks.recogniser import TwoStreamRecogniser
from epam_model.networks.settings import ModelSettings
from epam_model.networks.single_stream import SingleStreamRecogniser
from epam_model.networks.table import HEADS, NETWORKS
from epam_model.weights.conversion import part_of
from epam_model.weights.convert import load_recogniser


def build_model(
    settings: ModelSettings,
    *,
    num_classes: int,
    num_joints: int,
    num_coarse_classes: int = 0,
    classes: Sequence[str] = (),
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> nn.Module:
    """The network of a recipe: random weights from the seed, then those of the checkpoints in `init_from`.

    Args:
        settings: the `model` section.
        num_classes: number of classes.
        num_joints: channels of the heatmaps.
        num_coarse_classes: number of coarse groups; only the head `pcan` needs them.
        classes: names of the classes; a classifier of `init_from` that names others is left out.
        seed: seed of the weights. With the same seed, all ranks have the same weights.
        tell: called with lines about the files of `init_from`: what of each was loaded, what was NOT LOADED, and which
            parts of the network no file had.

    Raises:
        ValueError: a file of `init_from` is missing or does not fit, the head `pcan` has fewer than two groups, or no
            block of the network can checkpoint its activations.
    """
    torch.manual_seed(seed)
    network, make_head = NETWORKS[settings.network], HEADS[settings.head]
    model: nn.Module
    if settings.streams == "both":
        pair = network.both(settings, num_joints)
        channels = {"rgb": pair.rgb_channels, "pose": pair.pose_channels}
        model = TwoStreamRecogniser(pair, make_head(settings, channels, num_classes, num_coarse_classes))
    else:
        alone = network.alone[settings.streams](num_joints)
        channels = {settings.streams: alone.out_channels}
        model = SingleStreamRecogniser(alone, make_head(settings, channels, num_classes, num_coarse_classes))
    if settings.checkpoint_activations:
        _checkpoint_activations(model, settings.network)
    _start_from(model, settings, classes, tell)
    return model


def build_for(
    settings: ModelSettings, manifest: Manifest, *, seed: int = 0, tell: Callable[[str], None] = lambda line: None
) -> nn.Module:
    """The network of a recipe, for the classes, groups and heatmaps of the shards; arguments as in `build_model`."""
    return build_model(
        settings,
        num_classes=len(manifest.classes),
        num_joints=manifest.num_channels,
        num_coarse_classes=len(manifest.groups),
        classes=manifest.classes,
        seed=seed,
        tell=tell,
    )


def _checkpoint_activations(model: nn.Module, network: str) -> None:
    modules = [module for module in model.modules() if isinstance(module, Checkpointing)]
    if not modules:
        raise ValueError(f"model.checkpoint_activations must be false for network {network}, which cannot do so")
    for module in modules:
        module.checkpoint_activations = True


def _start_from(model: nn.Module, settings: ModelSettings, classes: Sequence[str], tell: Callable[[str], None]) -> None:
    published = NETWORKS[settings.network].published
    note = "" if published else f" (network {settings.network} has no published names, so only checkpoints of epam fit)"
    absent = set(model.state_dict())
    for path in settings.init_from:
        conversion = load_recogniser(model, Path(path), settings.streams, published, classes=classes, note=note)
        tell(f"{path}: {conversion.summary()}")
        for line in conversion.warnings():
            tell(f"{path}: {line}")
        absent &= set(conversion.absent(model.state_dict()))
    if settings.init_from and absent:
        parts = ", ".join(sorted(set(map(part_of, absent))))
        tell(f"NOT LOADED: no file of model.init_from has {parts}; they start with random weights")
