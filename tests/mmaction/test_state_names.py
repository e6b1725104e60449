"""State dicts under published names, as a part of a model, and through the package's own conversion."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from torch import nn

from epam_model.mmaction.state_names import save_under
from epam_model.networks.recogniser import build_epam
from epam_model.weights.convert import convert, model_formats
from epam_model.weights.epam_names import EPAM


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 2, bias=False)


NAMES = {"conv.weight": "first.weight", "conv.bias": "first.bias", "fc.weight": "second.weight"}


def test_saved_under_the_one_and_loaded_under_either():
    plain, renamed = Pair(), Pair()
    save_under(renamed, NAMES)
    assert set(renamed.state_dict()) == set(NAMES)
    renamed.load_state_dict(plain.state_dict(), strict=True)  # its own names
    assert torch.equal(renamed.state_dict()["conv.weight"], plain.first.weight)
    other = Pair()
    save_under(other, NAMES)
    other.load_state_dict(renamed.state_dict(), strict=True)  # the published ones
    assert torch.equal(other.second.weight, plain.second.weight)


def test_as_a_part_by_torch_and_by_mmengine():
    whole = nn.Sequential(Pair(), nn.Linear(1, 1))
    save_under(whole[0], NAMES)
    wanted = {f"0.{name}" for name in NAMES} | {"1.weight", "1.bias"}
    assert set(whole.state_dict()) == set(get_state_dict(whole)) == wanted
    values = {name: torch.full_like(value, 2.0) for name, value in whole.state_dict().items()}
    load_state_dict(whole, values, strict=True)
    assert all((weight == 2).all() for weight in whole.parameters())


def test_what_is_missing_or_unknown_is_reported():
    module = Pair()
    save_under(module, NAMES)
    state = module.state_dict()
    state["tail.weight"] = state.pop("fc.weight")
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "second.weight"'):
        module.load_state_dict(state, strict=True)


@pytest.mark.parametrize("groups", [0, 8])
def test_checkpoints_move_both_ways(groups):
    """Ours -> MMAction2 -> ours: the same recogniser, by name and value."""
    ours = build_epam(60, num_coarse_classes=groups)
    theirs = MODELS.build(
        dict(
            type="EPAMRecognizer",
            backbone=dict(type="EPAMBackbone"),
            cls_head=dict(type="PCANRGBPoseHead", num_classes=60, num_coarse_classes=groups),
        )
    )
    theirs.backbone.load_state_dict(ours.backbone.state_dict(), strict=True)
    theirs.cls_head.load_state_dict(ours.head.state_dict(), strict=True)
    saved = get_state_dict(theirs)
    assert {name.partition(".")[0] for name in saved} == {"backbone", "cls_head"}
    back = convert(saved, ours.state_dict(), model_formats("both", ours.state_dict(), EPAM))
    assert back.problems == [] and back.absent(ours.state_dict()) == []
    assert all(torch.equal(back.weights[name], value) for name, value in ours.state_dict().items())
