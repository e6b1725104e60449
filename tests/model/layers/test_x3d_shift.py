import pytest
import torch
from torch import nn
from torch.nn import functional

from epam_model.layers.x3d_shift import ShiftBlock, SqueezeExcite, squeeze_width
from tests.model.layers.test_temporal_shift import slow_shift


def random_block(**changes) -> ShiftBlock:
    options = {"stride": 1, "fold": 2, "squeeze_excite": True} | changes
    in_channels = options.pop("in_channels", 8)
    block = ShiftBlock(in_channels, 8, 18, **options).double().eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_()
    return block


def conv_norm(unit: nn.Module, x: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
    pad = unit.conv.weight.shape[-1] // 2
    x = functional.conv3d(x, unit.conv.weight, None, (1, stride, stride), (0, pad, pad), groups=groups)
    shape = (1, -1, 1, 1, 1)
    norm = unit.norm
    x = (x - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + 1e-5).sqrt()
    return x * norm.weight.view(shape) + norm.bias.view(shape)


@pytest.mark.parametrize("squeeze_excite", [False, True])
@pytest.mark.parametrize(("in_channels", "stride"), [(8, 1), (8, 2), (6, 2)])
def test_equals_the_block_written_out(in_channels, stride, squeeze_excite):
    block = random_block(in_channels=in_channels, stride=stride, squeeze_excite=squeeze_excite)
    x = torch.randn(2, in_channels, 5, 7, 6, dtype=torch.float64)
    out = conv_norm(block.expand, slow_shift(x, 2)).clamp(min=0)
    out = conv_norm(block.depthwise, out, stride, groups=18)
    if squeeze_excite:
        gates = block.squeeze_excite
        mean = out.mean(dim=(2, 3, 4))
        hidden = (mean @ gates.squeeze.weight.flatten(1).T + gates.squeeze.bias).clamp(min=0)
        out = out * (hidden @ gates.excite.weight.flatten(1).T + gates.excite.bias).sigmoid()[..., None, None, None]
    out = conv_norm(block.project, out * out.sigmoid())
    residual = x if stride == 1 else conv_norm(block.shortcut, x, stride)  # unshifted
    torch.testing.assert_close(block(x), (out + residual).clamp(min=0))


def test_without_gates_a_frame_sees_its_neighbours_only():
    block = random_block(squeeze_excite=False)
    x = torch.randn(1, 8, 7, 4, 4, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 3] += 1
    differs = (block(x) != block(changed)).any(dim=1).any(dim=-1).any(dim=-1)[0]
    assert differs.tolist() == [False, False, True, True, True, False, False]


def test_squeeze_widths_are_the_published_ones():
    assert [squeeze_width(channels) for channels in (54, 108, 216, 432)] == [8, 8, 16, 32]


def test_gates_scale_whole_channels_between_zero_and_one():
    x = torch.rand(2, 16, 3, 4, 4) + 0.1
    ratio = SqueezeExcite(16)(x) / x
    assert ((ratio > 0) & (ratio < 1)).all()
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1, :1].expand_as(ratio))


def test_stride_one_needs_equal_channels():
    with pytest.raises(ValueError, match="stride 1 needs equal channels, got 8 in and 12 out"):
        ShiftBlock(8, 12, 18, stride=1, fold=1, squeeze_excite=False)
