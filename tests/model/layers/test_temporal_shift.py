import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epam_model.layers.temporal_shift import temporal_shift
from tests.model.golden import GOLDENS
from tests.model.shared_goldens import needs_goldens


def slow_shift(x: torch.Tensor, fold: int) -> torch.Tensor:
    out = torch.empty_like(x)
    num_frames = x.shape[2]
    for channel in range(x.shape[1]):
        offset = 1 if channel < fold else -1 if channel < 2 * fold else 0
        for frame in range(num_frames):
            source = frame + offset
            inside = 0 <= source < num_frames
            out[:, channel, frame] = x[:, channel, source] if inside else 0
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 6), st.data())
def test_equals_the_slow_shift(clips, channels, frames, data):
    fold = data.draw(st.integers(0, channels // 2))
    x = torch.randn(clips, channels, frames, 2, 3)
    before = x.clone()
    assert torch.equal(temporal_shift(x, fold), slow_shift(x, fold))
    assert torch.equal(x, before)


def test_the_next_frame_first_then_the_previous_one():
    x = torch.arange(1.0, 13.0).reshape(1, 4, 3, 1, 1)
    expected = [[2, 3, 0], [0, 4, 5], [7, 8, 9], [10, 11, 12]]
    assert temporal_shift(x, 1)[0, :, :, 0, 0].tolist() == expected


@needs_goldens
@pytest.mark.parametrize(("name", "divisor"), [("rgb_fold8", 8), ("pose_fold4", 4)])
def test_equals_the_published_shift(name, divisor):
    with np.load(GOLDENS / "epam_tsm_unit.npz") as golden:
        x, expected = torch.from_numpy(golden["x"]), torch.from_numpy(golden[name])
    assert torch.equal(temporal_shift(x, x.shape[1] // divisor), expected)


def test_gradient_is_right():
    x = torch.randn(1, 5, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: temporal_shift(each, 2), x)


def test_memory_format_is_kept():
    x = torch.randn(2, 8, 4, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    assert temporal_shift(x, 2).is_contiguous(memory_format=torch.channels_last_3d)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"must be \(B, C, T, H, W\), got \(4, 3, 2, 2\)"):
        temporal_shift(torch.zeros(4, 3, 2, 2), 1)
    with pytest.raises(ValueError, match=r"fold must be in \[0, C / 2\] with C = 4 channels, got 3"):
        temporal_shift(torch.zeros(1, 4, 3, 2, 2), 3)
