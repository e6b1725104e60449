"""RGBPoseConv3D's table, name by name against our network; published names of PCAN are compared in `test_convert`."""

import re

import pytest

from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.weights.published_names import inverse
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D

RESNET50 = RGBPOSE_CONV3D.starts["rgb"]["ResNet-50, 2-D"]


def test_the_table_has_each_of_our_names_once():
    model = RGBPoseConv3D()
    rgb, pose = model.rgb_backbone.state_dict().keys(), model.pose_backbone.state_dict().keys()
    for table, names in (
        (RGBPOSE_CONV3D.backbone, model.state_dict().keys()),
        (RGBPOSE_CONV3D.streams["rgb"], rgb),
        (RGBPOSE_CONV3D.streams["pose"], pose),
        (RESNET50, rgb),
    ):
        assert inverse(table).keys() == names


def test_path_stage_and_block_are_the_same_in_both_names():
    """Published layers count from 1, our stages from 0."""
    for theirs, mine in (RGBPOSE_CONV3D.backbone | RESNET50).items():
        if place := re.match(r"(?:(rgb|pose)_path\.)?layer(\d+)\.(\d+)\.", theirs):
            path, layer, block = place.groups()
            backbone = f"{path}_backbone." if path else ""
            assert mine.startswith(f"{backbone}stages.{int(layer) - 1}.{block}."), theirs


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ("rgb_path.layer3.5.conv1.conv.weight", "rgb_backbone.stages.2.5.reduce.conv.weight"),
        ("pose_path.layer2.0.downsample.bn.bias", "pose_backbone.stages.1.0.shortcut.norm.bias"),
        ("rgb_path.layer2_lateral.conv.weight", "pose_to_rgb.0.weight"),
        ("rgb_path.layer3_lateral.conv.weight", "pose_to_rgb.1.weight"),
        ("pose_path.layer1_lateral.bn.weight", "rgb_to_pose.0.norm.weight"),
        ("pose_path.layer2_lateral.conv.weight", "rgb_to_pose.1.conv.weight"),
        ("featuredifference2.conv4.bias", "interactions.0.rgb_out.bias"),
        ("featuredifference3.skt_cross_attn.v_proj.weight", "interactions.1.pose_attention.value.weight"),
    ],
)
def test_some_names_by_hand(theirs: str, mine: str):
    assert RGBPOSE_CONV3D.backbone[theirs] == mine


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ("conv1.weight", "stem.conv.weight"),
        ("layer4.2.conv1.weight", "stages.3.2.reduce.conv.weight"),
        ("layer4.2.bn2.running_var", "stages.3.2.spatial.norm.running_var"),
        ("layer1.0.conv3.weight", "stages.0.0.expand.conv.weight"),
        ("layer2.0.downsample.0.weight", "stages.1.0.shortcut.conv.weight"),
        ("layer2.0.downsample.1.bias", "stages.1.0.shortcut.norm.bias"),
    ],
)
def test_some_names_of_resnet50_by_hand(theirs: str, mine: str):
    assert RESNET50[theirs] == mine
