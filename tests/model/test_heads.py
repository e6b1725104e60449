import dataclasses

import pytest
import torch

from epam_model.heads import Logits, TwoStreamHead


def test_logits_are_a_linear_map_of_the_pooled_features():
    head = TwoStreamHead(5, rgb_channels=4, pose_channels=3).eval()
    rgb, pose = torch.randn(2, 4, 2, 3, 3), torch.randn(2, 3, 6, 3, 3)
    logits = head(rgb, pose)
    torch.testing.assert_close(logits.rgb, rgb.mean(dim=(2, 3, 4)) @ head.rgb_fc.weight.T + head.rgb_fc.bias)
    torch.testing.assert_close(logits.pose, pose.mean(dim=(2, 3, 4)) @ head.pose_fc.weight.T + head.pose_fc.bias)
    torch.testing.assert_close(logits.fused, logits.rgb + logits.pose)


def test_dropout_acts_in_training_only():
    head = TwoStreamHead(5, dropout=1.0)
    features = torch.ones(2, 432, 1, 1, 1), torch.ones(2, 216, 1, 1, 1)
    assert (head(*features).rgb == 0).all() and (head(*features).pose == 0).all()
    assert (head.eval()(*features).rgb != 0).any()


def test_initialisation_is_the_published_one():
    head = TwoStreamHead(60)
    for layer in (head.rgb_fc, head.pose_fc):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert (layer.bias == 0).all()
    assert sum(p.numel() for p in head.parameters()) == 25_980 + 13_020


def test_logits_cannot_be_changed_or_disagree():
    logits = Logits(rgb=torch.zeros(2, 3), pose=torch.zeros(2, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        logits.rgb = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"got \(2, 3\) for rgb and \(2, 4\) for pose"):
        Logits(rgb=torch.zeros(2, 3), pose=torch.zeros(2, 4))


def test_logits_of_one_stream_alone():
    scores = torch.randn(2, 3)
    for name in ("rgb", "pose"):
        logits = Logits(**{name: scores})
        assert list(logits.streams) == [name]
        torch.testing.assert_close(logits.fused, scores)
    with pytest.raises(ValueError, match="need at least one stream"):
        Logits()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        TwoStreamHead(0)
    head = TwoStreamHead(3)
    with pytest.raises(ValueError, match=r"rgb features must be \(B, 432, T, H, W\), got \(1, 216, 1, 1, 1\)"):
        head(torch.zeros(1, 216, 1, 1, 1), torch.zeros(1, 216, 1, 1, 1))
    with pytest.raises(ValueError, match=r"pose features must be \(B, 216, T, H, W\), got \(1, 216\)"):
        head(torch.zeros(1, 432, 1, 1, 1), torch.zeros(1, 216))
