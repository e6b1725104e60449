import pytest
import torch
from torch import nn

from epam_model.layers.frame_conv import FrameConv

CASES = [  # in, out, kernel, stride, groups, bias
    (3, 8, 3, 2, 1, False),
    (8, 8, 3, 1, 8, False),
    (8, 8, 3, 2, 8, False),
    (6, 4, 1, 1, 1, True),
    (6, 4, 1, 2, 1, False),
    (2, 1, 7, 1, 1, True),
]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("c_in", "c_out", "kernel", "stride", "groups", "bias"), CASES)
def test_equals_conv3d_with_its_own_state_dict(c_in, c_out, kernel, stride, groups, bias, memory_format):
    pad = kernel // 2
    oracle = nn.Conv3d(
        c_in, c_out, (1, kernel, kernel), (1, stride, stride), (0, pad, pad), groups=groups, bias=bias
    ).double()
    ours = FrameConv(c_in, c_out, kernel, stride=stride, groups=groups, bias=bias).double()
    ours.load_state_dict(oracle.state_dict(), strict=True)
    x = torch.randn(2, c_in, 4, 9, 7, dtype=torch.float64).to(memory_format=memory_format)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(each) for module, each in zip((oracle, ours), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        (output * output).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(ours.weight.grad, oracle.weight.grad)


@pytest.mark.parametrize(("c_in", "c_out", "kernel", "stride", "groups", "bias"), CASES)
def test_gradients_have_the_strides_of_the_weight(c_in, c_out, kernel, stride, groups, bias):
    """Otherwise DistributedDataParallel warns of strides that do not match its buckets."""
    conv = FrameConv(c_in, c_out, kernel, stride=stride, groups=groups, bias=bias)
    x = torch.randn(2, c_in, 4, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    conv(x).sum().backward()
    assert conv.weight.grad.stride() == conv.weight.stride()


def test_channels_last_is_kept_so_that_folding_time_is_a_view():
    x = torch.randn(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    assert FrameConv(8, 16, 3)(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_print_shows_weight_and_stride():
    assert "(8, 1, 1, 3, 3), stride=2, groups=8" in str(FrameConv(8, 8, 3, stride=2, groups=8))
