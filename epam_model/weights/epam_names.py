"""The published names of EPAM-Net's weights, see `published_names`."""

from __future__ import annotations

from collections.abc import Sequence

from epam_model.weights.published_names import (
    Names,
    PublishedNames,
    conv_norm,
    prefixed,
    residual_stages,
    weight_bias,
)

_LAYERS = {"downsample": "shortcut", "conv1": "expand", "conv2": "depthwise", "conv3": "project"}
_SQUEEZE_LAYERS = {"se_module.fc1": "squeeze_excite.squeeze", "se_module.fc2": "squeeze_excite.excite"}


def _stream(num_blocks: Sequence[int]) -> Names:
    names = conv_norm("conv1_s", "stem") | conv_norm("conv5", "last") | residual_stages(num_blocks, _LAYERS)
    for stage, depth in enumerate(num_blocks):
        for block in range(0, depth, 2):
            for theirs, mine in _SQUEEZE_LAYERS.items():
                names |= weight_bias(f"layer{stage + 1}.{block}.{theirs}", f"stages.{stage}.{block}.{mine}")
    return names


_RGB, _POSE = _stream((3, 5, 11, 7)), _stream((5, 11, 7))

_ATTENTION = {
    # CBAM_spatial_efficient_temporal
    **conv_norm("spatial", "spatial"),
    "conv_temporal_attention.weight": "temporal.weight",
    # spatial_temporal ("sptial" is the published spelling)
    **weight_bias("conv_ch_compress", "compress"),
    **weight_bias("conv_sptial_attention", "spatial"),
    "fc1.weight": "squeeze.weight",
    "fc2.weight": "excite.weight",
}

_BACKBONE = {
    **prefixed(_RGB, "rgb_backbone.", "rgb_backbone."),
    **prefixed(_POSE, "pose_backbone.", "pose_backbone."),
    **prefixed(_ATTENTION, "attention_module.", "attention."),
}

EPAM = PublishedNames(
    network="epam",
    streams={"rgb": _RGB, "pose": _POSE},
    backbone=_BACKBONE,
    releases={
        "published EPAM-Net": {
            **prefixed(_BACKBONE, "", "backbone."),
            **weight_bias("rgb_cls_head.fc_cls", "head.rgb.fc"),
            **weight_bias("pose_cls_head.fc_cls", "head.pose.fc"),
        }
    },
)
