"""The head as MMAction2 builds it: figures, losses and scores, with MMAction2's own head as the oracle."""

import copy

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

from epam_data.taxonomy import TAXONOMIES
from epam_model.losses.pcan import PCANLosses
from epam_model.losses.settings import LossSettings
from epam_model.mmaction.heads import PCANRGBPoseHead, coarse_table, loss_factors
from epam_model.networks.heads import TwoStreamHead, prototype_banks

FEATURES = torch.rand(4, 432, 4, 2, 2), torch.rand(4, 216, 12, 2, 2)
TUPLE = (*FEATURES, *FEATURES, None, None)
LABELS = [3, 17, 59, 3]


def samples(labels=LABELS):
    return [ActionDataSample().set_gt_label(label) for label in labels]


def pcan_head(**changes):
    return MODELS.build(
        dict(type="PCANRGBPoseHead", num_classes=60, num_coarse_classes=8, in_channels=[432, 216], **changes)
    )


def test_figures_of_the_head():
    head = pcan_head()
    trained = sum(weight.numel() for weight in head.parameters())
    fine = sum(bank.prototypes.numel() for name, bank in prototype_banks(head).items() if name.endswith("_fine"))
    assert (trained, fine, trained + fine) == (293_800, 30_720, 324_520)
    assert trained + fine + 2_499_717 == 2_824_237


@pytest.mark.parametrize(
    ("components", "weights", "wanted"),
    [
        (("rgb", "pose"), [1.0, 1.2], (1.0, 1.2, 1.0, 1.2)),
        (("pose", "rgb"), [1.0, 1.2], (1.2, 1.0, 1.2, 1.0)),
        (("rgb", "pose"), [1.0, 1.2, 0.5, 0.9], (1.0, 1.2, 0.5, 0.9)),
        (("rgb", "pose", "rgb_coarse", "pose_coarse"), (1, 2, 3, 4), (1, 2, 3, 4)),
        (("pose_coarse", "rgb_coarse", "pose", "rgb"), [1, 2, 3, 4], (4, 3, 2, 1)),
        (("rgb", "pose"), 2.0, (2, 2, 2, 2)),
        (("rgb", "pose", "rgb_coarse"), [1, 2, 3], (1, 2, 3, 2)),
    ],
)
def test_loss_weights(components, weights, wanted):
    factors = loss_factors(components, weights)
    assert tuple(factors[name] for name in ("rgb", "pose", "rgb_coarse", "pose_coarse")) == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(loss_components=["rgb"]), "loss_components must be rgb and pose, and may be rgb, pose, rgb_coarse"),
        (dict(loss_components=["rgb", "pose", "flow"]), "loss_components must be rgb and pose"),
        (dict(loss_weights=[1.0, 1.0, 1.0]), "loss_weights must be one per component of"),
        (dict(in_channels=[432]), r"in_channels must be \[RGB channels, pose channels\], got \[432\]"),
        (dict(average_clips="max"), "average_clips must be one of prob, score, None, got 'max'"),
        (dict(taxonomy="ma52"), r"must be those of a taxonomy \(ma52 \(52, 7\)\), got \(60, 8\)"),
        (dict(taxonomy="kinetics"), "taxonomy must be one of ma52, ntu60, synthetic, got 'kinetics'"),
        (dict(num_classes=61), r"must be those of a taxonomy \(ma52 \(52, 7\), ntu60 \(60, 8\), .*got \(61, 8\)"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PCANRGBPoseHead(**{"num_classes": 60, "num_coarse_classes": 8, **arguments})


def test_the_table_of_coarse_labels_is_the_taxonomy():
    assert coarse_table(60, 8) == TAXONOMIES["ntu60"].coarse_of == pcan_head().coarse_of
    assert coarse_table(52, 7) == coarse_table(52, 7, "ma52") == TAXONOMIES["ma52"].coarse_of
    assert coarse_table(120, 0) == (0,) * 120


def test_the_loss_is_our_objective_and_moves_the_prototypes():
    head = pcan_head(loss_weights=[1.0, 1.2, 0.5, 0.9], dropout=0.0)
    head.rgb.fc.bias.data[3] = head.rgb.fc_coarse.bias.data[head.coarse_of[3]] = 9.0  # so that class 3 is found
    before = {name: bank.prototypes.clone() for name, bank in prototype_banks(head).items()}
    other = copy.deepcopy(head)
    factors = LossSettings(rgb=1.0, pose=1.2, rgb_coarse=0.5, pose_coarse=0.9)
    objective = PCANLosses(factors, head.coarse_of, prototype_banks(other))
    wanted = objective(TwoStreamHead.forward(other, *FEATURES), torch.tensor(LABELS))
    objective.end_step(True)
    losses = head.loss(TUPLE, samples())
    terms = {name: value for name, value in losses.items() if "loss" in name}
    assert list(terms) == list(wanted) and len(terms) == 12
    assert all(torch.equal(terms[name], wanted[name]) for name in terms)
    assert losses["rgb_top1_acc"] == 0.5 and 0 <= losses["pose_top1_acc"] <= 1
    for name, bank in prototype_banks(head).items():
        assert torch.equal(bank.prototypes, prototype_banks(other)[name].prototypes)
    assert not torch.equal(head.rgb.fine_bank.prototypes, before["rgb_fine"])
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in head.parameters())


def test_plain_head_is_mmaction2s_own():
    """Their weights under their names give their losses and scores."""
    theirs = MODELS.build(
        dict(type="mmaction.RGBPoseHead", num_classes=60, in_channels=[432, 216], loss_weights=[1.0, 2.0], dropout=0.0)
    )
    assert type(theirs).__module__.startswith("mmaction.")
    torch.nn.init.normal_(theirs.fc_rgb.weight)
    theirs.average_clips = "prob"
    ours = PCANRGBPoseHead(60, loss_weights=[1.0, 2.0], dropout=0.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    got, wanted = ours.loss(TUPLE, samples()), theirs.loss(FEATURES, samples())
    for stream in ("rgb", "pose"):
        torch.testing.assert_close(got[f"loss_{stream}"], wanted[f"{stream}_loss_cls"])
        torch.testing.assert_close(got[f"{stream}_top1_acc"].double(), wanted[f"{stream}_top1_acc"].double())
    for average in ("prob", "score"):
        ours.average_clips = theirs.average_clips = average
        mine, other = ours.predict(TUPLE, samples(LABELS[:2])), theirs.predict(FEATURES, samples(LABELS[:2]))
        for sample, want in zip(mine, other, strict=True):
            assert sample.pred_score.keys() == want.pred_score.keys() == {"rgb", "pose"}
            for stream, score in want.pred_score.items():
                torch.testing.assert_close(sample.pred_score[stream], score)


def test_clips_of_a_sample_are_averaged_or_not():
    head = pcan_head(average_clips=None).eval()
    with torch.inference_mode():
        (kept,) = head.predict(TUPLE, [ActionDataSample()])
        head.average_clips = "prob"
        (mean,) = head.predict(TUPLE, [ActionDataSample()])
    assert kept.pred_score["rgb"].shape == (4, 60)
    torch.testing.assert_close(mean.pred_score["rgb"], kept.pred_score["rgb"].softmax(1).mean(0))


def test_prototypes_correct_the_scores_in_evaluation():
    head = pcan_head().eval()
    plain = PCANRGBPoseHead(60).eval()
    plain.rgb.fc.load_state_dict(head.rgb.fc.state_dict())
    added = head(TUPLE).rgb - plain(TUPLE).rgb
    torch.testing.assert_close(added, 5 * head.rgb.fine_bank.similarity(FEATURES[0].mean((2, 3, 4))))
