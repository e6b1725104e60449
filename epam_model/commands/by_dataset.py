"""The network and the clips of a recipe, from its data set alone: no shards are needed."""

from __future__ import annotations

from typing import Any

from torch import nn

from epam_data.readers import find_reader
from epam_data.samples.settings import PrepareSettings
from epam_data.stream import StreamSettings
from epam_model.build import build_model
from epam_model.networks.settings import ModelSettings


def build_for_dataset(dataset: str, prepare: PrepareSettings, settings: ModelSettings) -> nn.Module:
    """The network of a recipe for the classes, groups and heatmaps of a data set, without its shards."""
    taxonomy = find_reader(dataset).taxonomy
    return build_model(
        settings,
        num_classes=len(taxonomy.classes),
        num_joints=_channels(dataset, prepare),
        num_coarse_classes=len(taxonomy.groups),
    )


def identity_of_dataset(dataset: str, prepare: PrepareSettings) -> dict[str, Any]:
    """What `checkpoint.shards_identity` says of shards of a data set, before there are any."""
    reader = find_reader(dataset)
    return {
        "dataset": dataset,
        "classes": list(reader.taxonomy.classes),
        "skeleton": reader.layout.name,
        "heatmap_kind": prepare.heatmap_kind,
        "index_sha256": "",
        "view_sha256": "",
    }


def clip_shapes(
    dataset: str, prepare: PrepareSettings, stream: StreamSettings
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """(3, T, H, W) of an RGB clip and (V, T', h, w) of a pose clip of a recipe."""
    rgb_px, heatmap_px = stream.sizes(prepare.rgb_size_px, prepare.heatmap_size_px, training=False)
    rgb = (3, stream.rgb_frames, rgb_px, rgb_px)
    pose = (_channels(dataset, prepare), stream.pose_frames, heatmap_px, heatmap_px)
    return rgb, pose


def _channels(dataset: str, prepare: PrepareSettings) -> int:
    return find_reader(dataset).layout.num_channels(prepare.heatmap_kind)
