import pytest
import torch
from torch import Tensor
from torch.nn import functional

from epam_model.weights.reshape import fold_x3d_stem, reshaped

STILL = torch.randn(1, 2, 1, 6, 6).expand(-1, -1, 5, -1, -1)
"""A clip that stands still."""


def test_an_inflated_kernel_answers_a_still_clip_as_in_2d():
    kernel = torch.randn(3, 2, 2, 4)
    inflated, how = reshaped("stem.conv.weight", kernel, torch.Size((3, 2, 3, 2, 4)))
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


FIRST, LATER = "rgb_backbone.stages.2.0.{}.conv.weight", "rgb_backbone.stages.2.1.{}.conv.weight"
"""Lateral channels come into first blocks of stages only."""


@pytest.mark.parametrize(
    ("name", "theirs", "ours", "how"),
    [
        ("x", (4, 2, 3, 3), (4, 2, 3, 3, 3), "inflated"),
        ("x", (4, 2, 3, 3), (4, 2, 1, 3, 3), "inflated"),
        ("x", (4, 1, 3, 3), (4, 1, 1, 3, 3), "inflated"),
        ("x", (4, 2, 5, 3), (4, 2, 3, 5, 3), "inflated"),
        (FIRST.format("reduce"), (4, 2, 1, 1), (4, 3, 3, 1, 1), "inflated, zeros for the lateral channels"),
        ("x", (4, 1, 2, 3, 3), (4, 1, 1, 3, 3), "summed over time"),
        ("x", (4, 1, 5, 3, 5), (4, 1, 1, 3, 5), "summed over time"),
        (FIRST.format("reduce"), (4, 2, 3, 1, 1), (4, 5, 3, 1, 1), "zeros for the lateral channels"),
        (FIRST.format("shortcut"), (4, 2, 1, 1, 1), (4, 3, 1, 1, 1), "zeros for the lateral channels"),
    ],
)
def test_what_is_done_is_said(name: str, theirs: tuple[int, ...], ours: tuple[int, ...], how: str):
    value, said = reshaped(name, torch.randn(theirs), torch.Size(ours))
    assert said == how and value.shape == ours and value.is_contiguous()


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("head.fc.weight", (5, 2), (6, 2)),
        ("x", (4, 2, 1, 3, 3), (4, 2, 1, 3, 3)),
        ("x", (4, 1, 1, 3, 3), (4, 1, 1, 3, 3)),
        # an image's kernel, other in each size
        ("x", (4, 2, 3, 3), (5, 2, 3, 3, 3)),
        ("x", (4, 2, 3, 3), (4, 1, 3, 3, 3)),
        ("x", (4, 2, 3, 3), (4, 3, 1, 3, 3)),
        ("x", (4, 2, 3, 3), (4, 2, 3, 5, 3)),
        ("x", (4, 2, 3, 3), (4, 2, 3, 3, 5)),
        # a depthwise kernel, other in each size
        ("x", (4, 1, 3, 3, 3), (5, 1, 1, 3, 3)),
        ("x", (4, 1, 3, 3, 3), (4, 2, 1, 3, 3)),
        ("x", (4, 2, 3, 3, 3), (4, 2, 1, 3, 3)),
        ("x", (4, 1, 3, 3, 3), (4, 1, 2, 3, 3)),
        ("x", (4, 1, 3, 3, 3), (4, 1, 1, 5, 3)),
        ("x", (4, 1, 3, 3, 3), (4, 1, 1, 3, 5)),
        # lateral channels: another place, or other in another size
        (FIRST.format("spatial"), (4, 2, 1, 1, 1), (4, 3, 1, 1, 1)),
        (LATER.format("shortcut"), (4, 2, 1, 1, 1), (4, 3, 1, 1, 1)),
        (FIRST.format("reduce"), (4, 3, 1, 1, 1), (4, 2, 1, 1, 1)),
        (FIRST.format("reduce"), (4, 3, 1, 1, 1), (4, 3, 1, 1, 1)),
        (FIRST.format("reduce"), (5, 2, 1, 1, 1), (4, 3, 1, 1, 1)),
        (FIRST.format("reduce"), (4, 2, 1, 1, 1), (4, 3, 3, 1, 1)),
        (FIRST.format("reduce"), (4, 2, 1, 1, 1), (4, 3, 1, 3, 1)),
        (FIRST.format("reduce"), (4, 2, 1), (4, 3, 1, 1, 1)),
    ],
)  # fmt: skip
def test_what_no_rule_covers_is_left(name: str, theirs: tuple[int, ...], ours: tuple[int, ...]):
    assert reshaped(name, torch.randn(theirs), torch.Size(ours)) is None


def x3d_stem(prefix: str = "", time: tuple[int, ...] = (4, 1, 3, 1, 1)) -> dict[str, Tensor]:
    return {
        f"{prefix}conv1_s.conv.weight": torch.randn(4, 2, 1, 3, 3),
        f"{prefix}conv1_t.conv.weight": torch.randn(time),
        f"{prefix}conv1_t.bn.weight": torch.ones(4),
        f"{prefix}conv1_t.bn.bias": torch.zeros(4),
        "other": torch.zeros(1),
    }


@pytest.mark.parametrize("prefix", ["", "backbone.", "rgb_backbone.", "a.b."])
def test_the_stem_of_x3d_becomes_one_convolution(prefix: str):
    state = x3d_stem(prefix)
    folded = fold_x3d_stem(state)
    assert set(folded) == {"other", *(f"{prefix}conv1_s.{name}" for name in ("conv.weight", "bn.weight", "bn.bias"))}
    assert len(state) == 5  # as it was
    space, time = state[f"{prefix}conv1_s.conv.weight"], state[f"{prefix}conv1_t.conv.weight"]
    two_steps = functional.conv3d(functional.conv3d(STILL, space), time, groups=4)
    one_step = functional.conv3d(STILL, folded[f"{prefix}conv1_s.conv.weight"])
    torch.testing.assert_close(one_step[:, :, 1:-1], two_steps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "state",
    [
        {"stem.conv.weight": torch.zeros(1)},
        {"conv1_s.conv.weight": torch.zeros(4, 2, 1, 3, 3)},
        {"conv1_t.conv.weight": torch.zeros(4, 1, 3, 1, 1)},
        x3d_stem(time=(4, 1, 3, 1)),
        x3d_stem(time=(1, 1, 3, 1, 1)),
        x3d_stem(time=(4, 2, 3, 1, 1)),
        x3d_stem() | {"conv1_s.conv.weight": torch.zeros(4, 2, 3, 3)},
    ],
    ids=["another", "space alone", "time alone", "4-D", "fewer channels", "not depthwise", "space 4-D"],
)
def test_any_other_stem_stays_as_it_is(state: dict[str, Tensor]):
    folded = fold_x3d_stem(state)
    assert folded.keys() == state.keys() and all(folded[name] is value for name, value in state.items())
