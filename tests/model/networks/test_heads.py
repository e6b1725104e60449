import dataclasses

import pytest
import torch
from torch.nn import functional

from epam_model.networks.heads import Logits, StreamHead, TwoStreamHead, prototype_banks


def features(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, 4, 2, 3, 3), torch.randn(batch, 3, 6, 3, 3)


def test_logits_are_a_linear_map_of_the_pooled_features():
    head = TwoStreamHead(5, rgb_channels=4, pose_channels=3).eval()
    rgb, pose = features()
    logits = head(rgb, pose)
    torch.testing.assert_close(logits.rgb, rgb.mean(dim=(2, 3, 4)) @ head.rgb.fc.weight.T + head.rgb.fc.bias)
    torch.testing.assert_close(logits.pose, pose.mean(dim=(2, 3, 4)) @ head.pose.fc.weight.T + head.pose.fc.bias)
    torch.testing.assert_close(logits.fused, logits.rgb + logits.pose)
    assert logits.coarse_streams == {} and logits.embeddings == {}


def test_dropout_acts_in_training_only():
    head = TwoStreamHead(5, dropout=1.0)
    ones = torch.ones(2, 432, 1, 1, 1), torch.ones(2, 216, 1, 1, 1)
    assert (head(*ones).rgb == 0).all() and (head(*ones).pose == 0).all()
    assert (head.eval()(*ones).rgb != 0).any()


def test_each_stream_may_have_a_dropout_of_its_own():
    head = TwoStreamHead(5, dropout={"rgb": 1.0, "pose": 0.0})
    scores = head(torch.ones(2, 432, 1, 1, 1), torch.ones(2, 216, 1, 1, 1))
    assert (scores.rgb == 0).all() and (scores.pose != 0).any()
    with pytest.raises(ValueError, match=r"dropout must be a probability, or one for each of rgb and pose, got \{'rgb"):
        TwoStreamHead(5, dropout={"rgb": 0.5})


def test_initialisation_is_the_published_one():
    head = TwoStreamHead(60, num_coarse_classes=8)
    for layer in (head.rgb.fc, head.pose.fc, head.rgb.fc_coarse, head.pose.fc_coarse):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert (layer.bias == 0).all()


def test_sizes_are_the_published_ones():
    assert sum(p.numel() for p in TwoStreamHead(60).parameters()) == 25_980 + 13_020
    head = TwoStreamHead(60, num_coarse_classes=8)
    assert sum(p.numel() for p in head.parameters()) == 293_800
    fine_prototypes = sum(head.state_dict()[f"{stream}.fine_bank.prototypes"].numel() for stream in ("rgb", "pose"))
    assert 293_800 + fine_prototypes == 324_520  # the published count: coarse prototypes were not saved


def test_coarse_logits_and_embeddings_in_training():
    head = TwoStreamHead(5, 4, 3, 0.0, num_coarse_classes=2).train()
    rgb, pose = features()
    logits = head(rgb, pose)
    assert {name: tuple(each.shape) for name, each in logits.coarse_streams.items()} == {"rgb": (2, 2), "pose": (2, 2)}
    assert {name: tuple(each.shape) for name, each in logits.embeddings.items()} == {
        "rgb_fine": (2, 256),
        "rgb_coarse": (2, 128),
        "pose_fine": (2, 256),
        "pose_coarse": (2, 128),
    }
    peak = pose.mean(dim=2).amax(dim=(2, 3))
    torch.testing.assert_close(logits.embeddings["pose_coarse"], head.pose.coarse_bank.embed(peak))
    plain = rgb.mean(dim=(2, 3, 4)) @ head.rgb.fc.weight.T + head.rgb.fc.bias
    torch.testing.assert_close(logits.rgb, plain)  # no correction by prototypes in training


def test_the_peak_is_published_maximum_pooling():
    """Of `adaptive_max_pool2d`: the same values, and among equal pixels the first gets the gradient."""
    head = StreamHead("rgb", 4, 5, num_coarse_classes=2)
    clip = torch.randint(0, 3, (6, 4, 2, 3, 5)).float().requires_grad_()  # many equal pixels
    weights = torch.randn(6, 256)
    (head(clip).embeddings["rgb_fine"] * weights).sum().backward()
    ours, clip.grad = clip.grad, None
    published = functional.adaptive_max_pool2d(clip.mean(dim=2), 1).flatten(1)
    (head.fine_bank(published) * weights).sum().backward()
    assert torch.equal(ours, clip.grad)


def test_evaluation_is_corrected_by_the_prototypes():
    head = TwoStreamHead(5, 4, 3, num_coarse_classes=2, rgb_rectification=2.0, pose_rectification=0.0).eval()
    rgb, pose = features()
    logits = head(rgb, pose)
    assert logits.embeddings == {}
    pooled = rgb.mean(dim=(2, 3, 4))
    embedded = head.rgb.fine_bank.embed(pooled)
    cosine = torch.nn.functional.cosine_similarity(
        embedded[:, :, None], head.rgb.fine_bank.prototypes[None], dim=1
    )  # (2, 5)
    torch.testing.assert_close(logits.rgb, head.rgb.fc(pooled) + 2 * cosine)
    torch.testing.assert_close(logits.pose, head.pose.fc(pose.mean(dim=(2, 3, 4))))
    torch.testing.assert_close(logits.rgb_coarse, head.rgb.fc_coarse(pooled))


def test_prototypes_are_saved_and_get_no_gradient():
    head = TwoStreamHead(5, 4, 3, num_coarse_classes=2)
    banks = prototype_banks(head)
    assert list(banks) == ["rgb_fine", "rgb_coarse", "pose_fine", "pose_coarse"]
    assert tuple(banks["rgb_coarse"].prototypes.shape) == (128, 2)
    assert "rgb.coarse_bank.prototypes" in head.state_dict()
    assert "rgb.coarse_bank.prototypes" not in dict(head.named_parameters())
    new = torch.randn(256, 5, requires_grad=True)
    banks["pose_fine"].remember(new)
    assert torch.equal(head.state_dict()["pose.fine_bank.prototypes"], new)
    assert not banks["pose_fine"].prototypes.requires_grad
    assert prototype_banks(TwoStreamHead(5)) == {}


def test_logits_cannot_be_changed_or_disagree():
    logits = Logits(rgb=torch.zeros(2, 3), pose=torch.zeros(2, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        logits.rgb = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"got \(2, 3\) for rgb and \(2, 4\) for pose"):
        Logits(rgb=torch.zeros(2, 3), pose=torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"logits must be \(B, Kc\), .* got \(2,\) for rgb"):
        Logits(rgb=torch.zeros(2, 3), rgb_coarse=torch.zeros(2))


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
    with pytest.raises(ValueError, match="num_coarse_classes must be at least 0, got -1"):
        TwoStreamHead(3, num_coarse_classes=-1)
    with pytest.raises(ValueError, match="stream must be one of rgb, pose, got 'both'"):
        StreamHead("both", 4, 3)
    head = TwoStreamHead(3)
    with pytest.raises(ValueError, match=r"rgb features must be \(B, 432, T, H, W\), got \(1, 216, 1, 1, 1\)"):
        head(torch.zeros(1, 216, 1, 1, 1), torch.zeros(1, 216, 1, 1, 1))
    with pytest.raises(ValueError, match=r"pose features must be \(B, 216, T, H, W\), got \(1, 216\)"):
        head(torch.zeros(1, 432, 1, 1, 1), torch.zeros(1, 216))
