"""The backbones as MMAction2 builds them: figures, shapes, six elements, and MMAction2's own network as the oracle."""

import pytest
import torch
from mmaction.registry import MODELS

import epam_model.mmaction as plugin
from epam_model.networks import epam, rgbpose_conv3d

SMALL = torch.rand(2, 3, 16, 64, 64), torch.rand(2, 17, 48, 16, 16)
SMALL_RGBPOSE = torch.rand(2, 3, 8, 64, 64), torch.rand(2, 17, 32, 16, 16)


def stir(module: torch.nn.Module) -> torch.nn.Module:
    """Random weights and statistics: at the published start the last batch norm of each block is 0."""
    generator = torch.Generator().manual_seed(4)
    for value in module.state_dict(keep_vars=True).values():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.data.copy_(noise + 0.5 if value.ndim < 2 else (noise - 0.5) * 4 / value[0].numel() ** 0.5)
    return module.eval()


def test_figures_and_shapes_at_the_published_size():
    backbone = MODELS.build(dict(type="EPAMBackbone", num_classes=60)).eval()
    assert sum(weight.numel() for weight in backbone.parameters()) == 2_499_717
    with torch.inference_mode():
        features = backbone(torch.rand(1, 3, 16, 224, 224), torch.rand(1, 17, 48, 56, 56))
    shapes = [tuple(each.shape) for each in features[:4]]
    assert shapes == [(1, 432, 16, 7, 7), (1, 216, 48, 7, 7)] * 2 and features[4:] == (None, None)


@pytest.mark.parametrize(
    ("made", "ours", "clips"),
    [
        (plugin.EPAMBackbone, epam.EPAMBackbone, SMALL),
        (plugin.PCANRGBPoseConv3D, rgbpose_conv3d.RGBPoseConv3D, SMALL_RGBPOSE),
    ],
    ids=["epam", "rgbpose_conv3d"],
)
def test_six_elements_of_our_own_network(made, ours, clips):
    made, ours = stir(made()), ours().eval()
    with torch.no_grad():
        for theirs, own in zip(made.parameters(), ours.parameters(), strict=True):
            own.copy_(theirs)
        for theirs, own in zip(made.buffers(), ours.buffers(), strict=True):
            own.copy_(theirs)
        gt, gt_coarse = torch.tensor([3, 4]), torch.tensor([0, 1])
        rgb, pose, rgb1, pose1, *labels = made(*clips, gt=gt, gt_coarse=gt_coarse)
        wanted = ours(*clips)
    for got, copy, want in ((rgb, rgb1, wanted[0]), (pose, pose1, wanted[1])):
        assert torch.equal(got, want) and torch.equal(copy, want) and copy.data_ptr() != got.data_ptr()
    assert labels[0] is gt and labels[1] is gt_coarse


def test_one_stream_alone_is_refused_with_the_reason():
    with pytest.raises(
        ValueError, match=r"^return_both_streams must be True in MMAction2, got False: its two-stream heads"
    ):
        plugin.EPAMBackbone(return_both_streams=False)


@pytest.mark.parametrize("attention", ["CBAM_spatial_efficient_temporal", "spatial_temporal"])
def test_arguments_reach_the_network(attention):
    backbone = MODELS.build(
        dict(type="EPAMBackbone", attention_type=attention, freeze_rgb=True, freeze_pose=True, num_joints=28)
    )
    assert type(backbone.attention) is type(epam.ATTENTIONS[attention](216))
    assert backbone.pose_backbone.in_channels == 28
    assert {name.partition(".")[0] for name, w in backbone.named_parameters() if w.requires_grad} == {"attention"}
    conv3d = plugin.PCANRGBPoseConv3D(num_joints=28, interaction=False, freeze_rgb=True, freeze_pose=True)
    assert conv3d.pose_backbone.in_channels == 28 and len(conv3d.interactions) == 0
    frozen = {name.partition(".")[0] for name, w in conv3d.named_parameters() if not w.requires_grad}
    assert frozen == {"rgb_backbone", "pose_backbone"}


@pytest.mark.parametrize(
    ("made", "stream"),
    [(plugin.EPAMBackbone, "rgb"), (plugin.EPAMBackbone, "pose"), (plugin.PCANRGBPoseConv3D, "pose")],
)
def test_a_pretrained_stream_is_loaded_again_when_mmengine_draws_weights(made, stream, tmp_path):
    """MMEngine calls `init_weights` after it built the model."""
    saved = {name: torch.full_like(value, 0.25) for name, value in _stream(made(), stream).state_dict().items()}
    torch.save(saved, tmp_path / "stream.pt")
    backbone = made(**{f"{stream}_pretrained": str(tmp_path / "stream.pt")})
    backbone.init_weights()
    other = "pose" if stream == "rgb" else "rgb"
    assert all((weight == 0.25).all() for weight in _stream(backbone, stream).parameters())
    assert any((weight != 0.25).any() for weight in _stream(backbone, other).parameters())


def _stream(backbone, stream):
    return getattr(backbone, f"{stream}_backbone")


def test_rgbpose_conv3d_is_that_of_mmaction2():
    """Their weights, loaded strictly under their names, give their features, in evaluation and in training."""
    theirs = stir(MODELS.build(dict(type="RGBPoseConv3D")))
    ours = plugin.PCANRGBPoseConv3D(interaction=False).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for training in (False, True):
        with torch.no_grad():
            wanted = theirs.train(training)(*SMALL_RGBPOSE)
            got = ours.train(training)(*SMALL_RGBPOSE)
        for name, mine, other in zip(("rgb", "pose"), got, wanted, strict=False):
            assert other.std() > 1e-3
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()), msg=name)


def test_their_features_reach_ours_with_the_interaction_too():
    """MMAction2's checkpoint of two paths starts PCAN's network: all of it is found, the interaction alone is new."""
    theirs = MODELS.build(dict(type="RGBPoseConv3D")).state_dict()
    missing, unexpected = plugin.PCANRGBPoseConv3D().load_state_dict(theirs, strict=False)
    assert unexpected == [] and missing and all("interactions." in name for name in missing)


def test_names_of_the_published_epam_net():
    published = {name.partition(".")[0] for name in plugin.EPAMBackbone().state_dict()}
    assert published == {"rgb_backbone", "pose_backbone", "attention_module"}
