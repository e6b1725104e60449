"""EPAM-Net's table, name by name against our network; published checkpoints are compared in `test_convert`."""

import re

import pytest

from epam_model.networks.recogniser import build_epam
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import inverse
from tests.model.golden import ATTENTION_FILES

RELEASE = EPAM.releases["published EPAM-Net"]


@pytest.fixture(scope="module")
def ours() -> set[str]:
    """Our names, with both kinds of attention."""
    return {name for kind in ATTENTION_FILES for name in build_epam(3, attention_type=kind).state_dict()}


def test_the_table_has_each_of_our_names_once(ours: set[str]):
    assert set(inverse(RELEASE)) == ours
    assert {f"backbone.{name}" for name in EPAM.backbone.values()} == {name for name in ours if "head." not in name}
    for stream, names in EPAM.streams.items():
        prefix = f"backbone.{stream}_backbone."
        assert {prefix + name for name in names.values()} == {name for name in ours if name.startswith(prefix)}


def test_stream_stage_and_block_are_the_same_in_both_names():
    """Published layers count from 1, our stages from 0."""
    for theirs, mine in RELEASE.items():
        if place := re.match(r"(rgb|pose)_backbone\.layer(\d+)\.(\d+)\.", theirs):
            stream, layer, block = place.groups()
            assert mine.startswith(f"backbone.{stream}_backbone.stages.{int(layer) - 1}.{block}."), theirs


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ("rgb_backbone.conv1_s.conv.weight", "backbone.rgb_backbone.stem.conv.weight"),
        ("pose_backbone.conv5.bn.bias", "backbone.pose_backbone.last.norm.bias"),
        ("rgb_backbone.layer3.10.conv1.conv.weight", "backbone.rgb_backbone.stages.2.10.expand.conv.weight"),
        ("rgb_backbone.layer3.10.conv2.bn.weight", "backbone.rgb_backbone.stages.2.10.depthwise.norm.weight"),
        ("pose_backbone.layer3.6.se_module.fc1.bias", "backbone.pose_backbone.stages.2.6.squeeze_excite.squeeze.bias"),
        ("attention_module.conv_sptial_attention.weight", "backbone.attention.spatial.weight"),
        ("pose_cls_head.fc_cls.bias", "head.pose.fc.bias"),
    ],
)
def test_some_names_by_hand(theirs: str, mine: str):
    assert RELEASE[theirs] == mine
