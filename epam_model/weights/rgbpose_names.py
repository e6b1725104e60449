"""The published names of RGBPoseConv3D's weights, with PCAN's interaction, see `published_names`."""

from __future__ import annotations

from epam_model.weights.published_names import (
    Names,
    PublishedNames,
    conv_norm,
    norm,
    prefixed,
    residual_stages,
    weight_bias,
)

_RGB_BLOCKS, _POSE_BLOCKS = (3, 4, 6, 3), (4, 6, 3)
_BOTTLENECK = {"downsample": "shortcut", "conv1": "reduce", "conv2": "spatial", "conv3": "expand"}

_RGB_PATH, _POSE_PATH = (
    conv_norm("conv1", "stem") | residual_stages(num_blocks, _BOTTLENECK) for num_blocks in (_RGB_BLOCKS, _POSE_BLOCKS)
)


def _resnet50_2d() -> Names:
    """Torchvision's ResNet-50, whose convolutions and batch norms are separate modules."""
    names = {"conv1.weight": "stem.conv.weight"} | norm("bn1", "stem.norm")
    for stage, depth in enumerate(_RGB_BLOCKS):
        for block in range(depth):
            published, ours = f"layer{stage + 1}.{block}", f"stages.{stage}.{block}"
            for number, mine in ((1, "reduce"), (2, "spatial"), (3, "expand")):
                names[f"{published}.conv{number}.weight"] = f"{ours}.{mine}.conv.weight"
                names |= norm(f"{published}.bn{number}", f"{ours}.{mine}.norm")
            if block == 0:
                names[f"{published}.downsample.0.weight"] = f"{ours}.shortcut.conv.weight"
                names |= norm(f"{published}.downsample.1", f"{ours}.shortcut.norm")
    return names


def _interaction(published: str, ours: str) -> Names:
    layers = {"conv1": "rgb_in", "conv2": "pose_in", "conv4": "rgb_out", "conv5": "pose_out"}
    projections = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "fc": "out"}
    names: Names = {}
    for theirs, mine in layers.items():
        names |= weight_bias(f"{published}.{theirs}", f"{ours}.{mine}")
    for stream, mine in (("rgb", "rgb_attention"), ("skt", "pose_attention")):
        for theirs, layer in projections.items():
            names |= weight_bias(f"{published}.{stream}_cross_attn.{theirs}", f"{ours}.{mine}.{layer}")
    return names


RGBPOSE_CONV3D = PublishedNames(
    network="rgbpose_conv3d",
    streams={"rgb": _RGB_PATH, "pose": _POSE_PATH},
    backbone={
        **prefixed(_RGB_PATH, "rgb_path.", "rgb_backbone."),
        **prefixed(_POSE_PATH, "pose_path.", "pose_backbone."),
        **{f"rgb_path.layer{2 + i}_lateral.conv.weight": f"pose_to_rgb.{i}.weight" for i in (0, 1)},
        **conv_norm("pose_path.layer1_lateral", "rgb_to_pose.0"),
        **conv_norm("pose_path.layer2_lateral", "rgb_to_pose.1"),
        **_interaction("featuredifference2", "interactions.0"),
        **_interaction("featuredifference3", "interactions.1"),
    },
    starts={"rgb": {"ResNet-50, 2-D": _resnet50_2d()}},
)
