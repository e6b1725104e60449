import pytest
import torch
from torch.nn import functional

from epam_model.heads import Logits
from epam_model.objective import loss_terms

RGB, POSE = torch.randn(4, 3), torch.randn(4, 3)
LABELS = torch.tensor([0, 2, 1, 1])
ONE = {"rgb": 1.0, "pose": 1.0}


def test_terms_are_the_weighted_cross_entropies_by_name():
    terms = loss_terms(Logits(rgb=RGB, pose=POSE), LABELS, weights={"rgb": 0.5, "pose": 2.0})
    assert list(terms) == ["loss_rgb", "loss_pose"]
    # -log softmax at the label, written out
    by_hand = -RGB.log_softmax(1)[range(4), LABELS].mean()
    torch.testing.assert_close(terms["loss_rgb"], 0.5 * by_hand)
    torch.testing.assert_close(terms["loss_pose"], 2 * functional.cross_entropy(POSE, LABELS))


def test_label_smoothing_spreads_its_share_over_all_classes():
    smooth = loss_terms(Logits(rgb=RGB), LABELS, weights=ONE, label_smoothing=0.3)["loss_rgb"]
    target = 0.7 * functional.one_hot(LABELS, 3) + 0.1
    torch.testing.assert_close(smooth, -(target * RGB.log_softmax(1)).sum(1).mean())


def test_a_stream_that_is_not_there_has_no_term():
    assert list(loss_terms(Logits(pose=POSE), LABELS, weights=ONE)) == ["loss_pose"]


def test_labels_of_another_batch_are_refused():
    with pytest.raises(ValueError, match=r"labels must be \(4,\), got \(3,\)"):
        loss_terms(Logits(rgb=RGB), LABELS[:3], weights=ONE)
