import numpy as np
import pytest
import torch

from epam_model.losses.tree import TreeLoss
from tests.model.golden import GOLDENS
from tests.model.shared_goldens import needs_goldens

COARSE_OF = (0, 0, 1)


def test_the_loss_is_a_softmax_over_all_states():
    fine, coarse = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 2, 0])
    losses = []
    for n, label in enumerate(labels.tolist()):
        believed = fine[n, label].sigmoid() + coarse[n, COARSE_OF[label]].sigmoid()
        states = [coarse[n, c].sigmoid() for c in range(2)]
        states += [fine[n, k].sigmoid() + coarse[n, COARSE_OF[k]].sigmoid() for k in range(3)]
        losses.append(torch.log(sum(state.exp() for state in states)) - believed)
    torch.testing.assert_close(TreeLoss(COARSE_OF)(fine, coarse, labels), torch.stack(losses).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_and_large_logits_stay_finite(dtype):
    fine, coarse = 300 * torch.randn(5, 3).to(dtype), 300 * torch.randn(5, 2).to(dtype)
    labels = torch.tensor([0, 1, 2, 2, 0])
    loss = TreeLoss(COARSE_OF)(fine.requires_grad_(), coarse, labels)
    loss.backward()
    assert loss.dtype == torch.float32
    assert fine.grad.isfinite().all()
    torch.testing.assert_close(loss.double(), TreeLoss(COARSE_OF)(fine.double(), coarse.double(), labels))


@needs_goldens
def test_loss_and_gradients_are_the_published_ones():
    with np.load(GOLDENS / "pcan_loss_units_f64.npz") as archive:
        units = {name: torch.from_numpy(archive[name]) for name in archive.files}
    fine, coarse = (units[name].clone().requires_grad_() for name in ("logit_fine", "logit_coarse"))
    loss = TreeLoss(units["f2c"].tolist())(fine, coarse, units["yf"])
    loss.backward()
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(loss, units["tree_loss"], **close)
    torch.testing.assert_close(fine.grad, units["tree_gfine"], **close)
    torch.testing.assert_close(coarse.grad, units["tree_gcoarse"], **close)


@pytest.mark.parametrize(("num_classes", "num_groups"), [(4, 2), (3, 1), (3, 3)])
def test_logits_that_the_taxonomy_does_not_cover_are_refused(num_classes: int, num_groups: int):
    message = rf"must be \(B, 3\) and \(B, 2\) for this taxonomy, got \(1, {num_classes}\) and \(1, {num_groups}\)"
    with pytest.raises(ValueError, match=message):
        TreeLoss(COARSE_OF)(torch.zeros(1, num_classes), torch.zeros(1, num_groups), torch.tensor([0]))


def test_the_taxonomy_is_not_saved_with_the_loss():
    assert not TreeLoss(COARSE_OF).state_dict()
