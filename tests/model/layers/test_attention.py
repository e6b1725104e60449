import pytest
import torch
from torch import nn

from epam_model.layers.attention import CBAMNestedAttention, SpatialTemporalAttention

ATTENTIONS = [CBAMNestedAttention, lambda: SpatialTemporalAttention(8, num_frames=6)]


@pytest.mark.parametrize("make", ATTENTIONS)
def test_map_is_one_channel_between_zero_and_one(make):
    attention_map = make()(torch.rand(2, 8, 6, 3, 5))
    assert attention_map.shape == (2, 1, 6, 3, 5)
    assert ((attention_map > 0) & (attention_map < 1)).all()


@pytest.mark.parametrize("make", ATTENTIONS)
def test_map_is_a_spatial_map_times_one_weight_per_frame(make):
    attention = make().eval()
    spatial = []
    attention.spatial.register_forward_hook(lambda module, inputs, output: spatial.append(output.sigmoid()))
    weight = attention(torch.rand(2, 8, 6, 3, 5)) / spatial[0]
    torch.testing.assert_close(weight, weight[..., :1, :1].expand_as(weight))
    assert ((weight > 0) & (weight < 1)).all()


@pytest.mark.parametrize("make", ATTENTIONS)
def test_gradient_reaches_the_pose_features(make):
    features = torch.rand(2, 8, 6, 3, 3, requires_grad=True)
    make()(features).sum().backward()
    assert features.grad.abs().sum() > 0


def test_parameter_counts_are_the_published_ones():
    assert sum(p.numel() for p in CBAMNestedAttention().parameters()) == 107
    assert sum(p.numel() for p in SpatialTemporalAttention().parameters()) == 2507


def test_cbam_reads_maximum_and_mean_in_this_order():
    attention = CBAMNestedAttention().eval()
    seen = []
    attention.spatial.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    features = torch.randn(1, 8, 4, 3, 3)
    attention(features)
    torch.testing.assert_close(seen[0], torch.stack([features.amax(dim=1), features.mean(dim=1)], dim=1))


def test_cbam_takes_any_clip_length_and_norms_slowly():
    attention = CBAMNestedAttention()
    assert attention(torch.rand(1, 8, 3, 2, 2)).shape == (1, 1, 3, 2, 2)
    assert attention.spatial.norm.momentum == 0.01


@pytest.mark.parametrize("make", ATTENTIONS)
def test_initialisation_can_be_repeated(make):
    attention = make()
    for parameter in attention.parameters():
        nn.init.constant_(parameter, 7.0)
    attention.init_weights()
    assert not any((parameter == 7.0).any() for parameter in attention.parameters())


def test_initialisation_is_the_published_one():
    cbam = CBAMNestedAttention()
    assert cbam.spatial.conv.weight.std().item() == pytest.approx((2 / 49) ** 0.5, rel=0.4)  # 98 numbers
    assert cbam.temporal.weight.abs().max() < 5 * (2 / 7) ** 0.5
    spatial_temporal = SpatialTemporalAttention()
    assert spatial_temporal.compress.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    assert spatial_temporal.squeeze.weight.std().item() == pytest.approx(0.01, rel=0.25)
    assert spatial_temporal.compress.bias.item() == spatial_temporal.spatial.bias.item() == 0


def test_spatial_temporal_names_the_length_it_is_made_for():
    with pytest.raises(ValueError, match="needs clips of 16 frames, got 8"):
        SpatialTemporalAttention(8)(torch.rand(1, 8, 8, 2, 2))
