from typing import get_args

import torch
from torch import Tensor

from epam_model.losses.objective import OBJECTIVES, Objective, total
from epam_model.losses.settings import LossSettings
from epam_model.networks.heads import Logits, TwoStreamHead, prototype_banks
from epam_model.networks.settings import HeadName

COARSE_OF = (0, 0, 1)
CLIPS, LABELS = (torch.rand(4, 4, 2, 2, 2), torch.rand(4, 5, 2, 2, 2)), torch.tensor([0, 1, 2, 0])
OF_PCAN = ("", "_coarse", "_coarse_prototype", "_fine_prototype", "_diversity", "_tree")


def terms_of(head: str, num_groups: int) -> tuple[TwoStreamHead, Objective, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = TwoStreamHead(3, 4, 5, 0.0, num_coarse_classes=num_groups)
    objective = OBJECTIVES[head](model, LossSettings(), COARSE_OF)
    return model, objective, objective.terms(model(*CLIPS), LABELS)


def test_every_head_of_a_recipe_has_its_objective():
    assert tuple(OBJECTIVES) == get_args(HeadName)


def test_a_plain_head_learns_by_cross_entropy_alone():
    _, objective, terms = terms_of("linear", 0)
    assert list(terms) == ["loss_rgb", "loss_pose"]
    objective.end_step(True)


def test_pcans_head_learns_by_pcans_terms_and_its_prototypes_move():
    model, objective, terms = terms_of("pcan", 2)
    assert list(terms) == [f"loss_{stream}{term}" for stream in ("rgb", "pose") for term in OF_PCAN]
    model.rgb.fc.bias.data[0] = model.rgb.fc_coarse.bias.data[0] = 9.0
    before = prototype_banks(model)["rgb_fine"].prototypes.clone()
    objective.terms(model(*CLIPS), LABELS)
    objective.end_step(True)
    assert not torch.equal(prototype_banks(model)["rgb_fine"].prototypes, before)


def test_a_loss_of_ones_own_is_a_function_of_logits_and_labels():
    objective = Objective(terms=lambda logits, labels: {"loss_mine": logits.fused.square().mean()})
    objective.end_step(True)
    assert list(objective.terms(Logits(rgb=torch.ones(2, 3)), LABELS[:2])) == ["loss_mine"]


def test_the_loss_is_the_sum_of_the_terms():
    assert total({"a": torch.tensor(1.0), "b": torch.tensor(2.5)}) == 3.5
