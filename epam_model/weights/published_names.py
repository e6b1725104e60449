"""Names of published checkpoints and ours: explicit tables, nothing guessed.

Our names say what a layer does (`expand`, `depthwise`, `project`), the published ones number them (`conv1`, `conv2`,
`conv3`). Each table lists every name of its network, so a name that it lacks is found out and never passes silently.
Names read off checkpoints and code of EPAM-Net, PCAN and MMAction2 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Names = dict[str, str]
"""Published name -> ours."""

_RGB_BLOCKS, _POSE_BLOCKS = (3, 5, 11, 7), (5, 11, 7)
_RGB_PATH_BLOCKS, _POSE_PATH_BLOCKS = (3, 4, 6, 3), (4, 6, 3)
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_SHIFT_LAYERS = {"downsample": "shortcut", "conv1": "expand", "conv2": "depthwise", "conv3": "project"}
_BOTTLENECK_LAYERS = {"downsample": "shortcut", "conv1": "reduce", "conv2": "spatial", "conv3": "expand"}
_SQUEEZE_LAYERS = {"se_module.fc1": "squeeze_excite.squeeze", "se_module.fc2": "squeeze_excite.excite"}


def prefixed(names: Mapping[str, str], published: str, ours: str) -> Names:
    """The table of a part, for the whole that has it under these two prefixes (each ends with a dot, or is empty)."""
    return {f"{published}{theirs}": f"{ours}{mine}" for theirs, mine in names.items()}


def inverse(names: Mapping[str, str]) -> Names:
    """Ours -> published."""
    turned = {ours: published for published, ours in names.items()}
    assert len(turned) == len(names), "two published names share one of ours"
    return turned


def _weight_bias(published: str, ours: str) -> Names:
    return {f"{published}.{tensor}": f"{ours}.{tensor}" for tensor in ("weight", "bias")}


def _norm(published: str, ours: str) -> Names:
    return {f"{published}.{tensor}": f"{ours}.{tensor}" for tensor in _NORM_TENSORS}


def _conv_norm(published: str, ours: str) -> Names:
    """A convolution without bias and its batch norm."""
    return {f"{published}.conv.weight": f"{ours}.conv.weight"} | _norm(f"{published}.bn", f"{ours}.norm")


def _shift_stream(num_blocks: Sequence[int]) -> Names:
    names = _conv_norm("conv1_s", "stem") | _conv_norm("conv5", "last")
    for stage, depth in enumerate(num_blocks):
        for block in range(depth):
            published, ours = f"layer{stage + 1}.{block}", f"stages.{stage}.{block}"
            for theirs, mine in _SHIFT_LAYERS.items():
                if theirs != "downsample" or block == 0:
                    names |= _conv_norm(f"{published}.{theirs}", f"{ours}.{mine}")
            if block % 2 == 0:
                for theirs, mine in _SQUEEZE_LAYERS.items():
                    names |= _weight_bias(f"{published}.{theirs}", f"{ours}.{mine}")
    return names


def _resnet_path(num_blocks: Sequence[int]) -> Names:
    names = _conv_norm("conv1", "stem")
    for stage, depth in enumerate(num_blocks):
        for block in range(depth):
            for theirs, mine in _BOTTLENECK_LAYERS.items():
                if theirs != "downsample" or block == 0:
                    names |= _conv_norm(f"layer{stage + 1}.{block}.{theirs}", f"stages.{stage}.{block}.{mine}")
    return names


def _resnet50_2d() -> Names:
    """Torchvision's ResNet-50: convolutions and batch norms stand side by side."""
    names = {"conv1.weight": "stem.conv.weight"} | _norm("bn1", "stem.norm")
    for stage, depth in enumerate(_RGB_PATH_BLOCKS):
        for block in range(depth):
            published, ours = f"layer{stage + 1}.{block}", f"stages.{stage}.{block}"
            for number, mine in ((1, "reduce"), (2, "spatial"), (3, "expand")):
                names[f"{published}.conv{number}.weight"] = f"{ours}.{mine}.conv.weight"
                names |= _norm(f"{published}.bn{number}", f"{ours}.{mine}.norm")
            if block == 0:
                names[f"{published}.downsample.0.weight"] = f"{ours}.shortcut.conv.weight"
                names |= _norm(f"{published}.downsample.1", f"{ours}.shortcut.norm")
    return names


def _interaction(published: str, ours: str) -> Names:
    layers = {"conv1": "rgb_in", "conv2": "pose_in", "conv4": "rgb_out", "conv5": "pose_out"}
    projections = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "fc": "out"}
    names: Names = {}
    for theirs, mine in layers.items():
        names |= _weight_bias(f"{published}.{theirs}", f"{ours}.{mine}")
    for stream, mine in (("rgb", "rgb_attention"), ("skt", "pose_attention")):
        for theirs, layer in projections.items():
            names |= _weight_bias(f"{published}.{stream}_cross_attn.{theirs}", f"{ours}.{mine}.{layer}")
    return names


def _pcan_stream_head(stream: str) -> Names:
    names = _weight_bias(f"fc_{stream}", f"{stream}.fc") | _weight_bias(f"fc_{stream}_coarse", f"{stream}.fc_coarse")
    for theirs, bank in ((f"fr_{stream}", "fine_bank"), (f"fr_coarse_{stream}", "coarse_bank")):
        net = f"{theirs}.spatio_cl_net"
        names |= _weight_bias(f"{net}.cl_fc", f"{stream}.{bank}.embed")
        names[f"{net}.avg_f"] = f"{stream}.{bank}.prototypes"
    return names


STREAMS: dict[str, dict[str, Names]] = {
    "epam": {"rgb": _shift_stream(_RGB_BLOCKS), "pose": _shift_stream(_POSE_BLOCKS)},
    "rgbpose_conv3d": {"rgb": _resnet_path(_RGB_PATH_BLOCKS), "pose": _resnet_path(_POSE_PATH_BLOCKS)},
}
"""Streams alone, by network and stream, without any prefix."""

RESNET50_2D = _resnet50_2d()

_ATTENTION = {
    # CBAM_spatial_efficient_temporal
    **_conv_norm("spatial", "spatial"),
    "conv_temporal_attention.weight": "temporal.weight",
    # spatial_temporal (the spelling is the published one)
    **_weight_bias("conv_ch_compress", "compress"),
    **_weight_bias("conv_sptial_attention", "spatial"),
    "fc1.weight": "squeeze.weight",
    "fc2.weight": "excite.weight",
}

BACKBONES: dict[str, Names] = {
    "epam": {
        **prefixed(STREAMS["epam"]["rgb"], "rgb_backbone.", "rgb_backbone."),
        **prefixed(STREAMS["epam"]["pose"], "pose_backbone.", "pose_backbone."),
        **prefixed(_ATTENTION, "attention_module.", "attention."),
    },
    "rgbpose_conv3d": {
        **prefixed(STREAMS["rgbpose_conv3d"]["rgb"], "rgb_path.", "rgb_backbone."),
        **prefixed(STREAMS["rgbpose_conv3d"]["pose"], "pose_path.", "pose_backbone."),
        **{f"rgb_path.layer{2 + i}_lateral.conv.weight": f"pose_to_rgb.{i}.weight" for i in (0, 1)},
        **_conv_norm("pose_path.layer1_lateral", "rgb_to_pose.0"),
        **_conv_norm("pose_path.layer2_lateral", "rgb_to_pose.1"),
        **_interaction("featuredifference2", "interactions.0"),
        **_interaction("featuredifference3", "interactions.1"),
    },
}
"""Two-stream backbones, by network, without any prefix."""

LINEAR_HEADS = {  # of one classifier per stream
    "epam": _weight_bias("rgb_cls_head.fc_cls", "rgb.fc") | _weight_bias("pose_cls_head.fc_cls", "pose.fc"),
    "mmaction2": _weight_bias("fc_rgb", "rgb.fc") | _weight_bias("fc_pose", "pose.fc"),
}
PCAN_HEAD = _pcan_stream_head("rgb") | _pcan_stream_head("pose")
"""`RGBPoseHead` of PCAN. Published checkpoints lack the coarse prototypes (`fr_coarse_*.spatio_cl_net.avg_f`)."""

EPAM = prefixed(BACKBONES["epam"], "", "backbone.") | prefixed(LINEAR_HEADS["epam"], "", "head.")
"""The whole published EPAM-Net."""

MMACTION2 = {
    network: prefixed(names, "backbone.", "backbone.") | prefixed(PCAN_HEAD, "cls_head.", "head.")
    for network, names in BACKBONES.items()
}
"""Recognisers as MMAction2 saves them: RGBPoseConv3D or EPAM's backbone, with PCAN's head or the plain one."""

ALONE = {
    (network, stream): prefixed(names, "backbone.", "backbone.") | _weight_bias("cls_head.fc_cls", "head.fc")
    for network, streams in STREAMS.items()
    for stream, names in streams.items()
}
"""One stream with MMAction2's plain head (`I3DHead`), by network and stream."""
