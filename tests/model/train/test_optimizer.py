from pathlib import Path

import pytest
import torch
from torch import nn

from epam_model.build import build_model
from epam_model.networks.settings import ModelSettings
from epam_model.train.optimizer import load_optimizer_state, make_optimizer, optimizer_state, part_of, set_learning_rate
from epam_model.train.settings import LearningRateFactors, TrainSettings
from tests.model.tiny import TinyRecogniser


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        sum(weight.square().sum() for weight in model.parameters()).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (ModelSettings(), {"rgb", "pose", "joint", "head"}),
        (ModelSettings(network="rgbpose_conv3d", head="pcan"), {"rgb", "pose", "joint", "head"}),
        (ModelSettings(streams="rgb"), {"rgb", "head"}),
        (ModelSettings(streams="pose"), {"pose", "head"}),
    ],
    ids=["epam", "rgbpose", "rgb", "pose"],
)
def test_every_weight_has_its_part(settings: ModelSettings, expected: set[str]):
    model = build_model(settings, num_classes=6, num_joints=17, num_coarse_classes=3)
    parts = {name: part_of(name, model.module_parts) for name, _ in model.named_parameters()}
    assert set(parts.values()) == expected
    for name, part in parts.items():
        if name.startswith("backbone.rgb_backbone."):
            assert part == "rgb"
        if name.startswith(("backbone.attention", "backbone.pose_to_rgb", "backbone.rgb_to_pose")):
            assert part == "joint", name


@pytest.mark.parametrize(
    ("module_parts", "got"), [({}, "None"), ({"parts.pose": "pose"}, "None"), ({"parts": "left"}, "left")]
)
def test_a_weight_of_no_part_is_named(module_parts: dict[str, str], got: str, monkeypatch):
    monkeypatch.setattr(TinyRecogniser, "module_parts", module_parts)
    parts = r"a part .*\(rgb, pose, joint, head\)"
    message = rf"weight parts\.rgb\.mix\.weight must belong to {parts}, got {got}; name it in `module_parts`"
    with pytest.raises(ValueError, match=message):
        make_optimizer(TinyRecogniser(), TrainSettings())
    with pytest.raises(ValueError, match=r"weight 0\.weight must belong to a part of the network"):
        make_optimizer(nn.Sequential(nn.Linear(1, 1)), TrainSettings())


def test_a_name_that_only_begins_like_a_part_is_not_in_it():
    with pytest.raises(ValueError, match=r"weight rgb_more\.weight must belong to a part"):
        part_of("rgb_more.weight", {"rgb": "rgb"})


def test_groups_have_their_rates():
    model = build_model(ModelSettings(), num_classes=6, num_joints=17)
    settings = TrainSettings(lr_factors=LearningRateFactors(rgb=0.1, head=10))
    optimizer = make_optimizer(model, settings)
    assert set_learning_rate(optimizer, 0.5, settings) == {"lr": 0.5, "lr_rgb": 0.05, "lr_head": 5.0}
    assert {group["part"]: group["lr"] for group in optimizer.param_groups} == {
        "rgb": 0.05,
        "pose": 0.5,
        "joint": 0.5,
        "head": 5.0,
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_the_optimisers_are_torchs_own():
    reference, ours = TinyRecogniser(norm=False), TinyRecogniser(norm=False)
    settings = TrainSettings(optimizer="adamw", lr=0.01, betas=(0.8, 0.9), weight_decay=0.1)
    steps(ours, make_optimizer(ours, settings), 3)
    steps(reference, torch.optim.AdamW(reference.parameters(), lr=0.01, betas=(0.8, 0.9), weight_decay=0.1), 3)
    for weight, expected in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(weight, expected)
    assert make_optimizer(ours, TrainSettings(momentum=0.5, nesterov=True)).defaults["nesterov"]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_state_goes_by_name_through_a_file(tmp_path: Path, kind: str):
    settings = TrainSettings(optimizer=kind, lr=0.01)
    whole, cut = TinyRecogniser(), TinyRecogniser()
    optimizer = make_optimizer(whole, settings)
    steps(whole, optimizer, 2)
    torch.save(optimizer_state(optimizer), tmp_path / "state.pt")
    cut.load_state_dict(whole.state_dict())
    resumed = make_optimizer(cut, settings)
    load_optimizer_state(resumed, torch.load(tmp_path / "state.pt", weights_only=True), "state.pt")
    steps(whole, optimizer, 2)
    steps(cut, resumed, 2)
    for weight, expected in zip(cut.parameters(), whole.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_errors():
    model = TinyRecogniser()
    sgd = make_optimizer(model, TrainSettings())
    with pytest.raises(ValueError, match=r"c\.pt: cannot resume, the optimizer was AdamW, now SGD"):
        load_optimizer_state(sgd, optimizer_state(make_optimizer(model, TrainSettings(optimizer="adamw"))), "c.pt")
    steps(model, sgd, 1)
    good = optimizer_state(sgd)
    name, moments = next(iter(good["state"].items()))
    for damage in (
        {"weights": None},
        {"state": 3},
        {"state": {"x": {}}},
        {"state": {name: 1}},
        {"state": {name: {**moments, "momentum_buffer": torch.zeros(2, 99)}}},
        {"state": {name: {**moments, "momentum_buffer": torch.full((1,), float("nan"))}}},
    ):
        with pytest.raises(ValueError, match=r"c\.pt: cannot resume, the optimizer's state is damaged"):
            load_optimizer_state(sgd, {**good, **damage}, "c.pt")
    model.parts["rgb"].mix.requires_grad_(False)
    with pytest.raises(ValueError, match=r"other weights were trained, such as parts\.rgb\.mix\.bias"):
        load_optimizer_state(make_optimizer(model, TrainSettings()), optimizer_state(sgd), "c.pt")
    with pytest.raises(ValueError, match="nothing to train: every part of the model is frozen"):
        make_optimizer(model.requires_grad_(False), TrainSettings())
