import pytest
import torch
from torch import nn

from epam_model.layers.time_conv import TimeConv


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 4), (1, 1)])
def test_equals_conv3d_with_its_own_state_dict(kernel, stride, memory_format):
    oracle = nn.Conv3d(6, 4, (kernel, 1, 1), (stride, 1, 1), (kernel // 2, 0, 0), bias=False).double()
    ours = TimeConv(6, 4, kernel, stride=stride).double()
    ours.load_state_dict(oracle.state_dict(), strict=True)
    x = torch.randn(2, 6, 8, 5, 3, dtype=torch.float64).to(memory_format=memory_format)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(each) for module, each in zip((oracle, ours), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        (output * output).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(ours.weight.grad, oracle.weight.grad)
    assert ours.weight.grad.stride() == ours.weight.stride()


def test_print_shows_weight_and_stride():
    assert "(4, 6, 7, 1, 1), stride=4" in str(TimeConv(6, 4, 7, stride=4))
