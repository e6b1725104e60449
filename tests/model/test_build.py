from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epam_data.shards.manifest import load_manifest
from epam_model.build import build_for, build_model
from epam_model.networks.heads import prototype_banks
from epam_model.networks.recogniser import TwoStreamRecogniser
from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.networks.settings import ModelSettings
from epam_model.networks.single_stream import SingleStreamRecogniser
from epam_model.networks.table import NETWORKS
from epam_model.weights.checkpoint import Checkpoint, save_checkpoint

CLIPS = {"epam": (4, 12), "rgbpose_conv3d": (2, 8)}


def build(num_classes: int = 6, num_joints: int = 17, groups: int = 3, seed: int = 0, **settings) -> torch.nn.Module:
    return build_model(
        ModelSettings(**settings),
        num_classes=num_classes,
        num_joints=num_joints,
        num_coarse_classes=groups,
        seed=seed,
    )


def save(model: torch.nn.Module, path: Path) -> Path:
    checkpoint = Checkpoint(weights=model.state_dict(), optimizer={}, epoch=1, consumed=0, shards={}, recipe={})
    save_checkpoint(path, checkpoint)
    return path


def test_a_pcan_head_needs_the_groups_that_shards_may_lack(plain_shards: Path):
    manifest = load_manifest(plain_shards)
    assert (manifest.groups, manifest.coarse_of) == ((), ())
    message = r"^model\.head pcan needs at least two coarse groups, the data set has 0$"
    with pytest.raises(ValueError, match=message):
        build_for(ModelSettings(head="pcan"), manifest)
    model = build_for(ModelSettings(streams="pose"), manifest)
    assert model.head.fc.out_features == 13


def test_the_seed_decides_the_weights():
    first, again, other = (build(streams="pose", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.fc.weight"], other["head.fc.weight"])


def test_settings_reach_the_network():
    model = build(7, 28, attention_type="spatial_temporal", dropout=0.1, freeze_rgb=True)
    assert isinstance(model, TwoStreamRecogniser)
    assert model.head.rgb.dropout.p == 0.1 and model.head.rgb.fc.out_features == 7
    assert model.backbone.pose_backbone.in_channels == 28
    assert not any(weight.requires_grad for weight in model.backbone.rgb_backbone.parameters())
    assert all(weight.requires_grad for weight in model.backbone.attention.parameters())
    assert prototype_banks(model) == {}
    alone = build(7, 28, streams="rgb", dropout=0.2)
    assert isinstance(alone, SingleStreamRecogniser)
    assert alone.head.stream == "rgb" and alone.head.dropout.p == 0.2
    conv3d = build(network="rgbpose_conv3d", interaction=False, freeze_pose=True, checkpoint_activations=True)
    assert isinstance(conv3d.backbone, RGBPoseConv3D) and len(conv3d.backbone.interactions) == 0
    assert conv3d.backbone.freeze_pose and conv3d.backbone.rgb_backbone.checkpoint_activations
    pcan = build(head="pcan", groups=3, rgb_rectification=4.0, pose_rectification=0.5)
    assert pcan.head.rgb.fc_coarse.out_features == 3
    assert (pcan.head.rgb.rectification, pcan.head.pose.rectification) == (4.0, 0.5)


@pytest.mark.parametrize("network", CLIPS)
@pytest.mark.parametrize("streams", ["both", "rgb", "pose"])
@pytest.mark.parametrize("head", ["linear", "pcan"])
@torch.no_grad()
def test_every_combination_classifies(network, streams, head):
    model = build(5, 9, network=network, streams=streams, head=head).eval()
    num_rgb, num_pose = CLIPS[network]
    logits = model(torch.rand(2, 3, num_rgb, 32, 32), torch.rand(2, 9, num_pose, 8, 8))
    names = ["rgb", "pose"] if streams == "both" else [streams]
    assert {name: tuple(each.shape) for name, each in logits.streams.items()} == dict.fromkeys(names, (2, 5))
    coarse = dict.fromkeys(names, (2, 3)) if head == "pcan" else {}
    assert {name: tuple(each.shape) for name, each in logits.coarse_streams.items()} == coarse


@pytest.mark.parametrize("network", CLIPS)
def test_streams_trained_alone_start_the_pair(network, tmp_path: Path):
    alone = {stream: build(network=network, streams=stream, seed=9) for stream in ("rgb", "pose")}
    files = [str(save(model, tmp_path / f"{stream}.pt")) for stream, model in alone.items()]
    model = build(network=network, init_from=files)
    for stream, start in alone.items():
        ours = getattr(model.backbone, f"{stream}_backbone").state_dict()
        for name, value in start.backbone.state_dict().items():
            if ours[name].shape != value.shape:  # lateral channels come in addition, with zero weights
                added = ours[name][:, value.shape[1] :]
                assert network == "rgbpose_conv3d" and added.shape[1] > 0 and (added == 0).all()
            assert torch.equal(ours[name][:, : value.shape[1]] if value.ndim > 1 else ours[name], value), name


def test_a_whole_checkpoint_starts_another_run(tmp_path: Path):
    start = build(seed=9)
    path = str(save(start, tmp_path / "start.pt"))
    same = build(init_from=[path]).state_dict()
    assert all(torch.equal(same[name], value) for name, value in start.state_dict().items())
    other = build(11, seed=3, init_from=[path])  # other classes: the head starts anew
    fresh = build(11, seed=3)
    for name, value in other.state_dict().items():
        expected = start.state_dict()[name] if name.startswith("backbone.") else fresh.state_dict()[name]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize(("before", "after"), [("linear", "pcan"), ("pcan", "linear")])
def test_another_kind_of_head_starts_anew_but_for_its_classifiers(before, after, tmp_path: Path):
    start = build(seed=9, head=before)
    told: list[str] = []
    model = build_model(
        ModelSettings(head=after, init_from=[str(save(start, tmp_path / "start.pt"))]),
        num_classes=6,
        num_joints=17,
        num_coarse_classes=3,
        tell=told.append,
    )
    for name, value in start.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
    for stream in ("rgb", "pose"):
        ours, theirs = (getattr(each.head, stream).fc.weight for each in (model, start))
        assert torch.equal(ours, theirs)
    if after == "linear":
        assert " not (heads, other classes)" in told[0]
        assert "NOT LOADED: 16 tensors of the file that have no place in the model: head.rgb.fc_coarse.we" in told[1]
    else:
        layers = [f"head.{stream}.{layer}" for stream in ("pose", "rgb") for layer in ("coarse_bank", "fc_coarse")]
        assert told[1].startswith("NOT LOADED: no file of model.init_from has head.pose.coarse_bank, head.pose.fc_coar")
        assert told[1].endswith("they start with random weights") and all(layer in told[1] for layer in layers)
    assert len(told) == 2


def test_an_interaction_that_has_no_place_is_refused(tmp_path: Path):
    path = save(build(network="rgbpose_conv3d"), tmp_path / "pcan.pt")
    with pytest.raises(ValueError, match=r"pcan\.pt: the weights do not fit .* unexpected backbone\.interactions\.0"):
        build(network="rgbpose_conv3d", interaction=False, init_from=[str(path)])


def test_a_network_without_published_names_says_so(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "epam", replace(NETWORKS["epam"], published=None))
    start = build(streams="pose", seed=9)
    again = build(streams="pose", init_from=[str(save(start, tmp_path / "ours.pt"))])
    assert all(torch.equal(again.state_dict()[name], value) for name, value in start.state_dict().items())
    torch.save({"conv1_s.conv.weight": torch.zeros(1)}, tmp_path / "theirs.pth")
    with pytest.raises(
        ValueError,
        match=r"theirs\.pth: the weights do not fit the model "
        r"\(network epam has no published names, so only checkpoints of epam fit\), "
        r"read as epam checkpoint: .*unexpected conv1_s",
    ):
        build(streams="pose", init_from=[str(tmp_path / "theirs.pth")])


class Still(torch.nn.Module):
    """A stream without blocks."""

    out_channels = 3

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return clip


def test_activations_are_checkpointed_where_there_are_blocks_for_it(monkeypatch):
    alone = build(streams="rgb", checkpoint_activations=True)
    assert alone.backbone.checkpoint_activations and not build(streams="rgb").backbone.checkpoint_activations
    monkeypatch.setitem(NETWORKS, "epam", replace(NETWORKS["epam"], alone={"rgb": lambda num_joints: Still()}))
    with pytest.raises(ValueError, match=r"model\.checkpoint_activations must be false for network epam, which"):
        build(streams="rgb", checkpoint_activations=True)


def test_what_cannot_be_built_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"absent\.pt: no such checkpoint"):
        build(init_from=["absent.pt"])
    with pytest.raises(ValueError, match=r"model\.head pcan needs at least two coarse groups, the data set has 0"):
        build(head="pcan", groups=0)
    path = save(build(num_joints=28, streams="pose"), tmp_path / "pose28.pt")
    with pytest.raises(
        ValueError,
        match=r"pose28\.pt: the weights do not fit the model, read as epam pose recogniser: "
        r"backbone\.pose_backbone\.stem\.conv\.weight must be \(24, 17, 1, 3, 3\), got \(24, 28,",
    ):
        build(init_from=[str(path)])
