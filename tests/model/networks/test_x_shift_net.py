import json

import pytest
import torch
from torch import nn

from epam_model.networks.x_shift_net import XShiftNet, pose_stream, rgb_stream
from epam_model.weights.convert import rename
from epam_model.weights.epam_names import EPAM
from tests.model.golden import GOLDENS
from tests.model.shared_goldens import needs_goldens


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_published_ones():
    assert count_parameters(rgb_stream()) == 1_980_030
    assert count_parameters(pose_stream()) == 519_580
    assert count_parameters(pose_stream(28)) == 519_580 + (28 - 17) * 24 * 9


@pytest.mark.parametrize(("make", "channels", "stride"), [(rgb_stream, 432, 32), (pose_stream, 216, 8)])
def test_shapes_also_for_sizes_that_do_not_divide(make, channels, stride):
    stream = make().eval()
    assert (stream.out_channels, stream.stride) == (channels, stride)
    for height, width in ((stride, 2 * stride), (stride + 1, 2 * stride - 1)):
        clip = torch.zeros(1, stream.in_channels, 2, height, width)
        with torch.no_grad():
            features = stream(clip)
        assert features.shape == (1, channels, 2, *stream.feature_size(clip))


def test_folds_and_gates_of_the_blocks():
    for stream, divisor in ((rgb_stream(), 8), (pose_stream(), 4)):
        for stage in stream.stages:
            for index, block in enumerate(stage):
                assert block.fold == block.expand.conv.weight.shape[1] // divisor
                assert isinstance(block.squeeze_excite, nn.Identity) == (index % 2 == 1)


def test_a_fresh_block_passes_its_residual_path_alone():
    stream = rgb_stream().eval()
    block = stream.stages[0][1]
    x = torch.rand(1, 24, 3, 4, 4)
    torch.testing.assert_close(block(x), x)


@needs_goldens
@pytest.mark.parametrize(("name", "make"), [("rgb", rgb_stream), ("pose", pose_stream)])
def test_initialisation_has_the_published_statistics(name, make):
    published = json.loads((GOLDENS / "epam_init_stats.json").read_text())
    prefix = f"{name}_backbone."
    of_stream = {key.removeprefix(prefix): stats for key, stats in published.items() if key.startswith(prefix)}
    statistics = rename(of_stream, EPAM.streams[name], name)
    parameters = dict(make().named_parameters())
    assert parameters.keys() == statistics.keys()
    for key, (mean, deviation) in statistics.items():
        values = parameters[key].detach()
        # Six standard errors of the difference of two samples.
        error = 6 * deviation / values.numel() ** 0.5
        assert abs(values.mean().item() - mean) <= 1.5 * error, key
        assert abs(values.std().item() - deviation) <= error, key


def test_initialisation_without_the_published_statistics():
    for key, parameter in rgb_stream().named_parameters():
        values = parameter.detach()
        if values.ndim == 5:
            fan_out = values.shape[0] * values[0, 0].numel()
            assert values.std().item() * (fan_out / 2) ** 0.5 == pytest.approx(1, abs=0.25), key
        else:
            constant = 0.0 if key.endswith(("bias", "project.norm.weight")) else 1.0
            assert (values == constant).all(), key


def test_wrong_clips_are_named():
    with pytest.raises(ValueError, match=r"clip must be \(B, 17, T, H, W\), got \(1, 3, 4, 8, 8\)"):
        pose_stream()(torch.zeros(1, 3, 4, 8, 8))
    with pytest.raises(ValueError, match=r"clip must be \(B, 3, T, H, W\), got \(3, 4, 8, 8\)"):
        rgb_stream()(torch.zeros(3, 4, 8, 8))


def test_compiles_into_one_graph():
    stream = XShiftNet(3, (2, 1), stem_stride=2, fold_divisor=8).eval()
    clip = torch.randn(1, 3, 4, 16, 16)
    compiled = torch.compile(stream, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(clip), stream(clip))
