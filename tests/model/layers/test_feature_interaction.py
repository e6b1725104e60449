import pytest
import torch
from torch import nn

from epam_model.layers.feature_interaction import CrossAttention, FeatureInteraction
from epam_model.ranks import dropout as ranks_dropout


def test_cross_attention_is_the_multi_head_attention_of_torch():
    ours = CrossAttention(16).double().eval()
    oracle = nn.MultiheadAttention(16, 8, batch_first=True).double().eval()
    layers = (ours.query, ours.key, ours.value)
    oracle.in_proj_weight.data = torch.cat([layer.weight for layer in layers])
    oracle.in_proj_bias.data = torch.cat([layer.bias for layer in layers])
    oracle.out_proj.load_state_dict(ours.out.state_dict())
    tokens, others = torch.randn(2, 5, 16, dtype=torch.float64), torch.randn(2, 5, 16, dtype=torch.float64)
    expected, _ = oracle(tokens, others, others)
    torch.testing.assert_close(ours(tokens, others), expected, rtol=1e-6, atol=1e-6)  # the root is of float32


def test_attention_drops_out_in_training_only():
    attention = CrossAttention(16)
    tokens = torch.randn(2, 9, 16)
    assert not torch.equal(attention(tokens, tokens), attention(tokens, tokens))
    attention.eval()
    assert torch.equal(attention(tokens, tokens), attention(tokens, tokens))


def test_attention_drops_out_the_same_on_any_ranks(monkeypatch: pytest.MonkeyPatch):
    attention, tokens, others = CrossAttention(16), torch.randn(4, 5, 16), torch.randn(4, 5, 16)
    torch.manual_seed(3)
    alone = attention(tokens, others)
    monkeypatch.setattr(ranks_dropout, "num_ranks", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(ranks_dropout, "own_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        torch.testing.assert_close(attention(tokens[rank::2], others[rank::2]), alone[rank::2])


@pytest.mark.parametrize("ratio", [1, 3, 4])
def test_features_are_weighted_by_one_gate_per_frame_and_channel(ratio):
    layer = FeatureInteraction(6, 4, 8, frame_ratio=ratio).eval()
    rgb, pose = torch.rand(2, 6, 3, 5, 5) + 0.1, torch.rand(2, 4, 3 * ratio, 5, 5) + 0.1
    for before, after in zip((rgb, pose), layer(rgb, pose), strict=True):
        gate = after / before
        torch.testing.assert_close(gate, gate[..., :1, :1].expand_as(gate))
        assert gate.std() > 0


def test_each_stream_sees_the_other():
    layer = FeatureInteraction(6, 4, 8).eval()
    rgb, pose = torch.rand(1, 6, 2, 3, 3), torch.rand(1, 4, 8, 3, 3)
    other_pose, other_rgb = layer(rgb, pose + 1)[0], layer(rgb + 1, pose)[1]
    assert not torch.allclose(other_pose, layer(rgb, pose)[0])
    assert not torch.allclose(other_rgb, layer(rgb, pose)[1])
