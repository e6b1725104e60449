import torch
from torch.nn import functional

from epam_model.weights.reshape import fold_x3d_stem, reshaped

STILL = torch.randn(1, 2, 1, 6, 6).expand(-1, -1, 5, -1, -1)
"""A clip that stands still."""


def test_an_inflated_kernel_answers_a_still_clip_as_in_2d():
    kernel = torch.randn(3, 2, 3, 3)
    inflated, how = reshaped("stem.conv.weight", kernel, torch.Size((3, 2, 3, 3, 3)))
    assert how == "inflated"
    frames = functional.conv3d(STILL, inflated)
    torch.testing.assert_close(frames[:, :, 1], functional.conv2d(STILL[:, :, 0], kernel), rtol=1e-4, atol=1e-5)


def test_a_depthwise_kernel_summed_over_time_answers_a_still_clip_alike():
    kernel = torch.randn(2, 1, 3, 3, 3)
    flat, how = reshaped("x", kernel, torch.Size((2, 1, 1, 3, 3)))
    assert how == "summed over time"
    expected = functional.conv3d(STILL, kernel, groups=2)[:, :, 1]
    torch.testing.assert_close(functional.conv3d(STILL, flat, groups=2)[:, :, 1], expected, rtol=1e-4, atol=1e-5)


def test_lateral_channels_get_zeros_where_they_come_in_and_nowhere_else():
    weight, shape = torch.randn(4, 2, 3, 1, 1), torch.Size((4, 3, 3, 1, 1))
    padded, how = reshaped("rgb_backbone.stages.2.0.reduce.conv.weight", weight, shape)
    assert how == "zeros for the lateral channels"
    assert torch.equal(padded[:, :2], weight) and (padded[:, 2] == 0).all()
    assert reshaped("rgb_backbone.stages.2.1.reduce.conv.weight", weight, shape) is None
    assert reshaped("pose_backbone.stem.conv.weight", weight, shape) is None


def test_what_no_rule_covers_is_refused():
    assert reshaped("head.fc.weight", torch.zeros(5, 2), torch.Size((6, 2))) is None
    assert reshaped("x", torch.zeros(4, 2, 3, 3), torch.Size((4, 3, 1, 3, 3))) is None
    assert reshaped("x", torch.zeros(4, 2, 1, 3, 3), torch.Size((4, 2, 1, 5, 5))) is None


def test_the_stem_of_x3d_becomes_one_convolution():
    state = {
        "conv1_s.conv.weight": torch.randn(4, 2, 1, 3, 3),
        "conv1_t.conv.weight": torch.randn(4, 1, 3, 1, 1),
        "conv1_t.bn.weight": torch.ones(4),
    }
    folded = fold_x3d_stem(state)
    assert list(folded) == ["conv1_s.conv.weight", "conv1_s.bn.weight"]
    two_steps = functional.conv3d(
        functional.conv3d(STILL, state["conv1_s.conv.weight"]), state["conv1_t.conv.weight"], groups=4
    )
    one_step = functional.conv3d(STILL, folded["conv1_s.conv.weight"])
    torch.testing.assert_close(one_step[:, :, 1:-1], two_steps, rtol=1e-4, atol=1e-5)
    other = {"stem.conv.weight": torch.zeros(1)}
    assert fold_x3d_stem(other) == other
