"""`epam-model convert --to mmaction2` for every network and head: MMAction2 loads it strictly, predicts the same, and
what it saves becomes ours again."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.runner.checkpoint import get_state_dict, load_state_dict, save_checkpoint
from torch import nn

from epam_model.build import build_model
from epam_model.networks.settings import ModelSettings
from epam_model.networks.table import NETWORKS
from epam_model.weights.convert import convert, load_recogniser, model_formats, to_mmaction2

RGB_ONLY = dict(type="ResNet3dSlowOnly", depth=50, conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1), pretrained=None)
POSE_ONLY = dict(
    type="ResNet3dSlowOnly",
    depth=50,
    pretrained=None,
    in_channels=17,
    base_channels=32,
    num_stages=3,
    out_indices=(2,),
    stage_blocks=(4, 6, 3),
    conv1_stride_s=1,
    pool1_stride_s=1,
    inflate=(0, 1, 1),
    spatial_strides=(2, 2, 2),
    temporal_strides=(1, 1, 1),
    dilations=(1, 1, 1),
)


def epam(**backbone):
    return dict(type="EPAMBackbone", **backbone)


def head(channels, groups=0):
    return dict(type="PCANRGBPoseHead", num_classes=60, num_coarse_classes=groups, in_channels=channels)


def i3d(channels):
    return dict(type="I3DHead", in_channels=channels, num_classes=60)


SPATIAL = {"attention_type": "spatial_temporal"}
CASES = {
    "EPAM-Net": ({}, "EPAMRecognizer", epam(), head([432, 216])),
    "EPAM-Net, PCAN's head": ({"head": "pcan", **SPATIAL}, "EPAMRecognizer", epam(**SPATIAL), head([432, 216], 8)),
    "RGBPoseConv3D": (
        {"network": "rgbpose_conv3d", "interaction": False},
        "MMRecognizer3D",
        dict(type="RGBPoseConv3D"),
        dict(type="RGBPoseHead", num_classes=60, in_channels=[2048, 512]),
    ),
    "RGBPoseConv3D, PCAN's head": (
        {"network": "rgbpose_conv3d", "interaction": False, "head": "pcan"},
        "EPAMRecognizer",
        dict(type="PCANRGBPoseConv3D", interaction=False),
        head([2048, 512], 8),
    ),
    "PCAN, plain head": (
        {"network": "rgbpose_conv3d"},
        "EPAMRecognizer",
        dict(type="PCANRGBPoseConv3D"),
        head([2048, 512]),
    ),
    "PCAN": (
        {"network": "rgbpose_conv3d", "head": "pcan"},
        "EPAMRecognizer",
        dict(type="PCANRGBPoseConv3D"),
        head([2048, 512], 8),
    ),
    "RGB path": ({"network": "rgbpose_conv3d", "streams": "rgb"}, "Recognizer3D", RGB_ONLY, i3d(2048)),
    "pose path": ({"network": "rgbpose_conv3d", "streams": "pose"}, "Recognizer3D", POSE_ONLY, i3d(512)),
}
CLIPS = {"epam": (16, 48), "rgbpose_conv3d": (4, 16)}


def build(settings, seed=0):
    made = ModelSettings(**settings)
    return build_model(made, num_classes=60, num_joints=17, num_coarse_classes=8, seed=seed), made


def stir(module: nn.Module) -> nn.Module:
    """Random weights and statistics: at the published start the last batch norm of each block is 0."""
    generator = torch.Generator().manual_seed(4)
    for value in module.state_dict(keep_vars=True).values():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.data.copy_(noise + 0.5 if value.ndim < 2 else (noise - 0.5) * 4 / value[0].numel() ** 0.5)
    return module.eval()


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_mmaction2_loads_it_strictly_and_gives_it_back(case):
    settings, recogniser, backbone, cls_head = CASES[case]
    ours, made = build(settings)
    stir(ours)
    names = NETWORKS[made.network].published
    theirs = MODELS.build(dict(type=recogniser, backbone=backbone, cls_head=cls_head)).eval()
    load_state_dict(theirs, to_mmaction2(ours.state_dict(), names, made.streams), strict=True)
    num_rgb, num_pose = CLIPS[made.network]
    rgb, pose = torch.rand(1, 3, num_rgb, 64, 64), torch.rand(1, 17, num_pose, 16, 16)
    wanted = ours(rgb, pose).streams
    if made.streams == "both":
        given = theirs.cls_head(theirs.backbone(rgb, pose))
        got = given.streams if hasattr(given, "streams") else given
    else:
        got = {made.streams: theirs.cls_head(theirs.backbone(rgb if made.streams == "rgb" else pose))}
    for stream, scores in wanted.items():
        assert scores.std() > 1e-3
        torch.testing.assert_close(got[stream], scores, rtol=1e-4, atol=1e-4 * float(scores.abs().max()))
    again, _ = build(settings, seed=1)
    target = again.state_dict()
    back = convert(get_state_dict(theirs), target, model_formats(made.streams, target, names))
    assert back.problems == [] and back.absent(target) == [] and back.left_out == []
    assert all(torch.equal(back.weights[name], value) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("settings", [{}, {"head": "pcan"}], ids=["plain", "PCAN"])
def test_both_streams_of_epam_net_fill_a_pair(settings):
    """MMAction2 has no such network of one stream: the two files together are all of a pair but its attention."""
    cls_head = head([432, 216], 8 if settings else 0)
    theirs = MODELS.build(dict(type="EPAMRecognizer", backbone=epam(), cls_head=cls_head))
    merged = {}
    for stream in ("rgb", "pose"):
        alone, _ = build({"streams": stream, **settings})
        for name, value in to_mmaction2(alone.state_dict(), NETWORKS["epam"].published, stream).items():
            name = name.replace("backbone.", f"backbone.{stream}_backbone.", 1).replace("fc_cls", f"fc_{stream}")
            merged[name] = value
    missing, unexpected = theirs.load_state_dict(merged, strict=False)
    assert unexpected == [] and missing and all(name.startswith("backbone.attention.") for name in missing)


def test_a_checkpoint_that_mmengine_saved_starts_ours(tmp_path):
    """With its entries and its log, and both streams of the plain network under PCAN's."""
    theirs = MODELS.build(
        dict(type="MMRecognizer3D", backbone=dict(type="RGBPoseConv3D"), cls_head=CASES["RGBPoseConv3D"][3])
    )
    save_checkpoint({"meta": {"epoch": 1}, "state_dict": get_state_dict(theirs)}, str(tmp_path / "epoch_1.pth"))
    ours, made = build({"network": "rgbpose_conv3d", "head": "pcan"})
    loaded = load_recogniser(ours, tmp_path / "epoch_1.pth", "both", NETWORKS[made.network].published)
    assert loaded.format == "MMAction2 rgbpose_conv3d" and loaded.left_out == []
    absent = {
        name.split(".")[1] if name.startswith("backbone.") else name.split(".")[2]
        for name in loaded.absent(ours.state_dict())
    }
    assert absent == {"interactions", "fc_coarse", "fine_bank", "coarse_bank"}
