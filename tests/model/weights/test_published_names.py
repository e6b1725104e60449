"""The parts of which the tables of published names are made."""

import pytest

from epam_model.networks.heads import StreamHead, TwoStreamHead
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import (
    LINEAR_HEAD,
    PCAN_HEAD,
    PublishedNames,
    conv_norm,
    inverse,
    prefixed,
    residual_stages,
    weight_bias,
)


def test_a_prefix_stands_before_each_name():
    assert prefixed({"a": "b"}, "backbone.", "") == {"backbone.a": "b"}
    assert prefixed({"a": "b"}, "", "head.") == {"a": "head.b"}


def test_the_inverse_leads_back_and_exists_only_if_no_name_is_shared():
    names = weight_bias("fc1", "squeeze")
    assert {names[theirs]: theirs for theirs in names} == inverse(names)
    assert inverse(inverse(names)) == names
    with pytest.raises(AssertionError, match="two published names map to one of ours"):
        inverse({"a": "x", "b": "x"})


def test_a_convolution_with_its_norm_by_hand():
    assert conv_norm("conv1", "stem") == {
        "conv1.conv.weight": "stem.conv.weight",
        "conv1.bn.weight": "stem.norm.weight",
        "conv1.bn.bias": "stem.norm.bias",
        "conv1.bn.running_mean": "stem.norm.running_mean",
        "conv1.bn.running_var": "stem.norm.running_var",
        "conv1.bn.num_batches_tracked": "stem.norm.num_batches_tracked",
    }


def test_stages_count_from_one_there_and_from_zero_here_and_begin_with_a_shortcut():
    names = residual_stages((2, 1), {"downsample": "shortcut", "conv1": "reduce"})
    kernels = {theirs: mine for theirs, mine in names.items() if theirs.endswith("conv.weight")}
    assert kernels == {
        "layer1.0.downsample.conv.weight": "stages.0.0.shortcut.conv.weight",
        "layer1.0.conv1.conv.weight": "stages.0.0.reduce.conv.weight",
        "layer1.1.conv1.conv.weight": "stages.0.1.reduce.conv.weight",
        "layer2.0.downsample.conv.weight": "stages.1.0.shortcut.conv.weight",
        "layer2.0.conv1.conv.weight": "stages.1.0.reduce.conv.weight",
    }
    assert len(names) == 6 * len(kernels)  # the norms too


@pytest.mark.parametrize(("names", "num_groups"), [(LINEAR_HEAD, 0), (PCAN_HEAD, 2)], ids=["plain", "PCAN"])
def test_the_tables_of_heads_cover_our_heads(names: dict[str, str], num_groups: int):
    assert set(names.values()) == set(TwoStreamHead(3, 4, 5, num_coarse_classes=num_groups).state_dict())


def test_pcans_head_by_hand():
    of_pose = {theirs: mine for theirs, mine in PCAN_HEAD.items() if "pose" in theirs and "bias" not in theirs}
    assert of_pose == {
        "fc_pose.weight": "pose.fc.weight",
        "fc_pose_coarse.weight": "pose.fc_coarse.weight",
        "fr_pose.spatio_cl_net.cl_fc.weight": "pose.fine_bank.embed.weight",
        "fr_pose.spatio_cl_net.avg_f": "pose.fine_bank.prototypes",
        "fr_coarse_pose.spatio_cl_net.cl_fc.weight": "pose.coarse_bank.embed.weight",
        "fr_coarse_pose.spatio_cl_net.avg_f": "pose.coarse_bank.prototypes",
    }


def test_mmaction2_puts_its_prefixes_before_the_backbone_the_stream_and_the_head():
    whole = EPAM.mmaction2
    assert len(whole) == len(EPAM.backbone) + len(PCAN_HEAD)
    assert whole["backbone.rgb_backbone.conv1_s.conv.weight"] == "backbone.rgb_backbone.stem.conv.weight"
    assert whole["cls_head.fc_rgb.weight"] == "head.rgb.fc.weight"
    alone = EPAM.alone("pose")
    assert alone["backbone.conv1_s.conv.weight"] == "backbone.stem.conv.weight"
    head = {mine for theirs, mine in alone.items() if theirs.startswith("cls_head.")}
    assert head == {f"head.{name}" for name in StreamHead("pose", 5, 3).state_dict()}


def test_a_network_need_not_have_releases_or_starts():
    names = PublishedNames(network="mine", streams={}, backbone={})
    assert names.releases == names.starts == {}
