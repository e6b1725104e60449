"""The recogniser's three modes, its coarse labels, and backbones that take no labels."""

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

from epam_data.taxonomy import TAXONOMIES


def build(**changes):
    settings = dict(
        type="EPAMRecognizer",
        backbone=dict(type="EPAMBackbone"),
        cls_head=dict(type="PCANRGBPoseHead", num_classes=60, num_coarse_classes=8, in_channels=[432, 216]),
    )
    return MODELS.build({**settings, **changes})


def inputs(samples=2, clips=1):
    return {
        "imgs": torch.rand(samples, clips, 3, 4, 64, 64),
        "heatmap_imgs": torch.rand(samples, clips, 17, 12, 16, 16),
    }


def labelled(*labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


def test_loss_hands_fine_and_coarse_labels_to_the_backbone(monkeypatch):
    model = build().train()
    seen, forward = {}, model.backbone.forward
    monkeypatch.setattr(model.backbone, "forward", lambda **given: seen.update(given) or forward(**given))
    losses = model(inputs(), labelled(5, 59), mode="loss")
    assert sum("loss" in name for name in losses) == 12
    assert seen["gt"].tolist() == [5, 59]
    assert seen["gt_coarse"].tolist() == [TAXONOMIES["ntu60"].coarse_of[label] for label in (5, 59)]


@pytest.mark.parametrize("clips", [1, 3])
def test_predict_needs_no_labels(clips):
    model = build().eval()
    with torch.inference_mode():
        predictions = model(inputs(clips=clips), [ActionDataSample(), ActionDataSample()], mode="predict")
    for sample in predictions:
        assert sample.pred_score.keys() == {"rgb", "pose"}
        for score in sample.pred_score.values():
            assert score.shape == (60,) and score.sum().item() == pytest.approx(1, abs=1e-5)


def test_tensor_gives_features_or_scores_and_leaves_the_inputs_alone():
    model, given = build().eval(), inputs(clips=2)
    with torch.inference_mode():
        features = model(given, mode="tensor")
        logits = model(given, mode="tensor", stage="head")
    assert features[0].shape == (4, 432, 4, 2, 2) and features[1].shape == (4, 216, 12, 2, 2) and len(features) == 6
    assert logits.rgb.shape == (4, 60) and logits.pose_coarse.shape == (4, 8)
    assert given["imgs"].shape == (2, 2, 3, 4, 64, 64)


def test_a_backbone_of_mmaction2_gets_no_labels():
    model = build(
        backbone=dict(type="RGBPoseConv3D"),
        cls_head=dict(type="PCANRGBPoseHead", num_classes=60, num_coarse_classes=8, in_channels=[2048, 512]),
    ).train()
    clips = {"imgs": torch.rand(2, 1, 3, 2, 32, 32), "heatmap_imgs": torch.rand(2, 1, 17, 8, 8, 8)}
    assert sum("loss" in name for name in model(clips, labelled(5, 59), mode="loss")) == 12


def test_our_backbone_under_the_recogniser_of_mmaction2():
    model = build(type="MMRecognizer3D").train()
    assert sum("loss" in name for name in model(inputs(), labelled(5, 59), mode="loss")) == 12


def test_labels_of_a_head_without_groups_are_fine_alone(monkeypatch):
    model = build(cls_head=dict(type="mmaction.RGBPoseHead", num_classes=60, in_channels=[432, 216])).train()
    seen, forward = {}, model.backbone.forward
    monkeypatch.setattr(model.backbone, "forward", lambda **given: seen.update(given) or forward(**given))
    losses = model(inputs(), labelled(5, 59), mode="loss")
    assert {"rgb_loss_cls", "pose_loss_cls"} <= losses.keys()
    assert seen["gt"].tolist() == [5, 59] and "gt_coarse" not in seen
