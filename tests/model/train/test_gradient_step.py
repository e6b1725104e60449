from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from epam_model.build import build_model
from epam_model.losses.objective import OBJECTIVES, Objective
from epam_model.losses.settings import LossSettings
from epam_model.networks.heads import Logits, prototype_banks
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.distributed import Ranks
from epam_model.train.gradient_step import DTYPES, GradientStep
from epam_model.train.settings import Precision
from tests.model.tiny import CLASSES, TinyRecogniser, tiny_settings

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = torch.tensor([0, 3, 5, 1])


def clips(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(4, 3, 2, 16, 16, generator=generator),
        torch.randn(4, 17, 4, 8, 8, generator=generator),
    )


def step_of(model: nn.Module, **changes: object) -> GradientStep:
    head = "pcan" if prototype_banks(model) else "linear"
    objective = OBJECTIVES[head](model, LossSettings(), CLASSES.coarse_of)
    return GradientStep(model, objective, settings=tiny_settings(**changes), ranks=Ranks())


def taken(model: nn.Module, count: int = 2, **changes: object) -> GradientStep:
    step = step_of(model, **changes)
    with step.together():
        for number in range(count):
            torch.manual_seed(number)
            result = step.take(*clips(number), LABELS, rate=0.05, stop=False)
            assert result.is_finite and not result.stop
    return step


def plain(**changes: object) -> TinyRecogniser:
    return TinyRecogniser(norm=False, dropout=0, **changes)  # type: ignore[arg-type]


def assert_close(ours: nn.Module, theirs: nn.Module, tolerance: float) -> None:
    for (name, value), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("parts", [2, 4])
def test_gradients_of_parts_are_those_of_the_batch(parts: int):
    whole, split = plain(), plain()
    one, many = taken(whole), taken(split, accumulate=parts)
    assert_close(split, whole, 1e-6)
    results = [step.take(*clips(9), LABELS, rate=0.05, stop=False) for step in (one, many)]
    for name, value in results[0].values.items():
        torch.testing.assert_close(results[1].values[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_parts_move_the_prototypes_one_after_another():
    def pcan() -> nn.Module:
        settings = ModelSettings(head="pcan", dropout=0.0)
        return build_model(settings, num_classes=6, num_joints=17, num_coarse_classes=len(CLASSES.groups))

    rgb, pose = torch.randn(2, 3, 2, 32, 32), torch.rand(2, 17, 6, 8, 8)
    for parts in (1, 2):
        model = pcan().train()
        for head in (model.head.rgb, model.head.pose):  # the label is always predicted, so prototypes move
            head.fc.bias.data[0] = head.fc_coarse.bias.data[CLASSES.coarse_of[0]] = 9.0
        before = model.head.rgb.fine_bank.prototypes.clone()
        step = step_of(model, accumulate=parts)
        moved: list[Tensor] = []
        hook = step.objective.terms.fine_prototype.register_forward_pre_hook(
            lambda _, values, saw=moved: saw.append(values[4].clone())
        )
        assert step.take(rgb, pose, torch.tensor([0, 0]), rate=0.0, stop=False).is_finite
        hook.remove()
        moved = moved[::2]  # those of the pose come between
        assert len(moved) == parts and torch.equal(moved[0], before)
        now = model.head.rgb.fine_bank.prototypes
        assert not torch.equal(now[:, 0], before[:, 0]) and torch.equal(now[:, 1:], before[:, 1:])
        if parts == 2:  # the second starts from what the first moved, and moves it on
            assert not torch.equal(moved[1], before) and not torch.equal(now, moved[1])


def test_every_precision_of_a_recipe_has_its_type():
    assert tuple(DTYPES) == get_args(Precision)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.02), ("fp16", 0.004)])
def test_mixed_precision_is_close_to_float32(precision: str, tolerance: float):
    exact, mixed = plain(), plain()
    taken(exact)
    step = taken(mixed, precision=precision)
    assert_close(mixed, exact, tolerance)
    assert any(not torch.equal(a, b) for a, b in zip(mixed.parameters(), exact.parameters(), strict=True))
    assert all(weight.dtype == torch.float32 for weight in mixed.parameters())
    assert step.scaler.is_enabled() == (precision == "fp16")


class Broken(TinyRecogniser):
    """Its gradient, or its output, is not finite when told so."""

    how = ""

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        logits = super().forward(rgb, pose)
        if self.how == "gradient":
            logits.rgb.register_hook(lambda gradient: gradient * float("inf"))
        bad = logits.pose * float("nan") if self.how == "loss" else logits.pose
        return Logits(rgb=logits.rgb, pose=bad)


@pytest.mark.parametrize("how", ["gradient", "loss"])
def test_a_step_that_is_not_finite_changes_nothing(how: str):
    model = Broken()
    step = taken(model, ema_decay=0.5, max_skipped_steps=1)
    model.how = how
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mean = {name: value.clone() for name, value in step.average.state().items()}
    result = step.take(*clips(7), LABELS, rate=0.05, stop=False)
    assert not result.is_finite
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in step.average.state().items():
        assert torch.equal(value, mean[name]), name
    model.how = ""
    assert step.take(*clips(7), LABELS, rate=0.05, stop=False).is_finite


@pytest.mark.parametrize(
    ("how", "precision", "expected"),
    [("", "fp32", True), ("loss", "fp32", False), ("gradient", "fp32", False), ("gradient", "fp16", False)],
)
def test_an_objective_learns_once_whether_the_step_was_taken(how: str, precision: str, expected: bool):
    model = Broken()
    calls: list[object] = []

    def terms(logits: Logits, labels: Tensor) -> dict[str, Tensor]:
        calls.append(len(labels))
        return {"loss_mine": logits.fused.square().mean()}

    settings = tiny_settings(accumulate=2, precision=precision)
    objective = Objective(terms=terms, end_step=calls.append)
    step = GradientStep(model, objective, settings=settings, ranks=Ranks())
    model.how = how
    result = step.take(*clips(), LABELS, rate=0.05, stop=False)
    assert calls == [2, 2, expected]
    assert list(result.values) == ["lr", "loss", "loss_mine", "grad_norm"]


def test_fp16_lowers_its_scale_where_a_gradient_overflows_and_gives_up_at_the_bottom():
    model = Broken()
    step = taken(model, precision="fp16")
    scale = step.scaler.get_scale()
    model.how = "gradient"
    before = model.parts["pose"].fc.weight.clone()
    assert step.take(*clips(7), LABELS, rate=0.05, stop=False).is_finite, "this is how fp16 finds its scale"
    assert step.scaler.get_scale() == scale / 2 and torch.equal(model.parts["pose"].fc.weight, before)
    for _ in range(20):
        result = step.take(*clips(7), LABELS, rate=0.05, stop=False)
    assert not result.is_finite


def test_one_rank_hears_its_own_request_to_stop():
    assert step_of(plain()).take(*clips(), LABELS, rate=0.05, stop=True).stop


def test_a_frozen_stream_keeps_weights_and_statistics():
    settings = ModelSettings(freeze_rgb=True)
    model = build_model(settings, num_classes=6, num_joints=17)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step = step_of(model)
    model.train()
    step.take(torch.randn(4, 3, 2, 32, 32), torch.rand(4, 17, 6, 8, 8), LABELS, rate=0.05, stop=False)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("backbone.rgb_backbone.") for name in changed)
    assert {"head.rgb.fc.weight", "head.pose.fc.weight"} <= changed
    assert any(name.startswith("backbone.pose_backbone.") and name.endswith("running_mean") for name in changed)


def test_a_compiled_step_is_the_plain_one(monkeypatch):
    """What is compiled is what a step calls; the compiler itself is torch's affair, and takes minutes here."""
    compiled: list[object] = []

    def compile_(module: nn.Module) -> nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    model = plain()
    taken(model, compile=True)
    assert compiled == [model]
    taken(plain())
    assert len(compiled) == 1
