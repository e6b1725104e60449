import pytest
import torch
from torch import Tensor
from torch.nn import functional

from epam_model.losses.cross_entropy import cross_entropies, weighted_cross_entropy
from epam_model.losses.settings import LossSettings
from epam_model.networks.heads import Logits

RGB, POSE = torch.randn(4, 3), torch.randn(4, 3)
LABELS = torch.tensor([0, 2, 1, 1])


def terms_of(logits: Logits, labels: Tensor = LABELS, **settings: float) -> dict[str, Tensor]:
    return cross_entropies(LossSettings(**settings), logits, labels)


def test_terms_are_the_weighted_cross_entropies_by_name():
    terms = terms_of(Logits(rgb=RGB, pose=POSE), rgb=0.5, pose=2.0)
    assert list(terms) == ["loss_rgb", "loss_pose"]
    # -log softmax at the label, written out
    by_hand = -RGB.log_softmax(1)[range(4), LABELS].mean()
    torch.testing.assert_close(terms["loss_rgb"], 0.5 * by_hand)
    torch.testing.assert_close(terms["loss_pose"], 2 * functional.cross_entropy(POSE, LABELS))


def test_label_smoothing_spreads_its_share_over_all_classes():
    smooth = terms_of(Logits(rgb=RGB), label_smoothing=0.3)["loss_rgb"]
    target = 0.7 * functional.one_hot(LABELS, 3) + 0.1
    torch.testing.assert_close(smooth, -(target * RGB.log_softmax(1)).sum(1).mean())


def test_a_stream_that_is_not_there_has_no_term():
    assert list(terms_of(Logits(pose=POSE))) == ["loss_pose"]


def test_sums_are_of_float32_at_least():
    scores = RGB.to(torch.bfloat16)
    loss = weighted_cross_entropy(LossSettings(), "rgb_coarse", scores, LABELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, functional.cross_entropy(scores.float(), LABELS))


def test_labels_of_another_batch_are_refused():
    with pytest.raises(ValueError, match=r"labels must be \(4,\), got \(3,\)"):
        terms_of(Logits(rgb=RGB), LABELS[:3])
