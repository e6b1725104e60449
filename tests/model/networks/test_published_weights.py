"""`load_state_dict` of networks and their parts: own or published names, strict or not; all that fits, or nothing."""

import copy
import pickle
from typing import ClassVar

import pytest
import torch
from torch import nn

from epam_model.networks.epam import EPAMBackbone
from epam_model.networks.heads import StreamHead, TwoStreamHead
from epam_model.networks.published_weights import WeightsMismatchError
from epam_model.networks.recogniser import TwoStreamRecogniser
from epam_model.networks.resnet_path import pose_path
from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.networks.single_stream import SingleStreamRecogniser
from epam_model.networks.x_shift_net import pose_stream
from epam_model.weights.convert import to_mmaction2, to_published
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import Names, inverse
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D


@pytest.fixture(scope="module")
def shared() -> TwoStreamRecogniser:
    """Read only: EPAM-Net with PCAN's head, of random weights."""
    torch.manual_seed(1)
    return TwoStreamRecogniser(EPAMBackbone(), TwoStreamHead(5, num_coarse_classes=2))


def published(module: nn.Module, names: Names) -> dict[str, torch.Tensor]:
    theirs = inverse(names)
    return {theirs[name]: value for name, value in module.state_dict().items()}


def same(first: nn.Module, second: nn.Module) -> bool:
    mine, other = first.state_dict(), second.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def other_values(module: nn.Module) -> nn.Module:
    changed = copy.deepcopy(module)
    for value in changed.state_dict().values():
        value.zero_()
    return changed


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.module.backbone.", "_orig_mod."])
def test_the_backbone_takes_published_names(shared, strict: bool, prefix: str):
    backbone = other_values(shared.backbone)
    state = {prefix + name: value for name, value in published(shared.backbone, EPAM.backbone).items()}
    keys = backbone.load_state_dict(state, strict=strict)
    assert keys.missing_keys == keys.unexpected_keys == [] and same(backbone, shared.backbone)
    assert all(name.startswith(prefix) for name in state)  # the caller's dict is as it was


@pytest.mark.parametrize("strict", [True, False])
def test_a_whole_release_fills_the_backbone_and_its_classifiers_are_named(shared, strict: bool, caplog):
    backbone = other_values(shared.backbone)
    linear = TwoStreamRecogniser(shared.backbone, TwoStreamHead(5))
    keys = backbone.load_state_dict(to_published(linear.state_dict(), EPAM, "both"), strict=strict)
    assert same(backbone, shared.backbone)
    heads = ["rgb_cls_head.fc_cls.weight", "rgb_cls_head.fc_cls.bias"]
    if strict:
        assert "EPAMBackbone: NOT LOADED, it has no classifier: rgb_cls_head.fc_cls.weight; rgb_c" in caplog.text
        assert keys.unexpected_keys == []
    else:
        assert keys.unexpected_keys[:2] == heads and len(keys.unexpected_keys) == 4 and not caplog.records


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: pose_stream(3), EPAM.streams["pose"]),
        (lambda: pose_path(3), RGBPOSE_CONV3D.streams["pose"]),
    ],
    ids=["X-ShiftNet", "ResNet"],
)
def test_so_does_each_stream(make, names: Names):
    torch.manual_seed(2)
    stream = make()
    filled = other_values(stream)
    filled.load_state_dict(published(stream, names))
    assert same(filled, stream)


def test_so_do_rgbpose_conv3d_and_whole_recognisers(shared):
    conv3d = RGBPoseConv3D(interaction=False)
    filled = other_values(conv3d)
    filled.load_state_dict(published(conv3d, RGBPOSE_CONV3D.backbone), strict=True)
    assert same(filled, conv3d)
    recogniser = other_values(shared)
    recogniser.load_state_dict(to_mmaction2(shared.state_dict(), EPAM, "both"))
    assert same(recogniser, shared)
    alone = SingleStreamRecogniser(shared.backbone.pose_backbone, StreamHead("pose", 216, 5))
    single = other_values(alone)
    single.load_state_dict(to_mmaction2(alone.state_dict(), EPAM, "pose"))
    assert same(single, alone)


def test_as_a_part_of_a_module_of_ones_own(shared):
    class Own(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net, self.tail = net, nn.Linear(2, 2)

    own, filled = Own(shared.backbone), Own(other_values(shared.backbone))
    state = {f"net.{name}": value for name, value in published(shared.backbone, EPAM.backbone).items()}
    filled.load_state_dict({**state, **{f"tail.{name}": value for name, value in own.tail.state_dict().items()}})
    assert same(filled, own)


def test_own_names_load_as_ever(shared):
    backbone = other_values(shared.backbone)
    part = {name: value for name, value in shared.backbone.state_dict().items() if name.startswith("rgb_backbone.")}
    keys = backbone.load_state_dict(part, strict=False)
    assert keys.missing_keys and not any(name.startswith("rgb_backbone.") for name in keys.missing_keys)
    assert same(backbone.rgb_backbone, shared.backbone.rgb_backbone)
    assert same(pickle.loads(pickle.dumps(backbone)), backbone) and same(copy.deepcopy(backbone), backbone)


@pytest.mark.parametrize("strict", [True, False])
def test_weights_of_which_none_is_its_own_are_an_error(shared, strict: bool):
    backbone = other_values(shared.backbone)
    theirs = {name: torch.zeros(1) for name in RGBPOSE_CONV3D.backbone}
    for state in ({"a.b": torch.zeros(1)}, {}, theirs, {"attention_module.spatial.bn.running_mean": torch.zeros(1)}):
        with pytest.raises(WeightsMismatchError, match=r"^EPAMBackbone: the weights do not fit: ") as caught:
            backbone.load_state_dict(state, strict=strict)
        assert isinstance(caught.value, ValueError) and isinstance(caught.value, RuntimeError)
        assert len(str(caught.value)) < 1500
    with pytest.raises(WeightsMismatchError, match="the nearest layout is rgbpose_conv3d backbone of network rgbpose_"):
        backbone.load_state_dict(theirs, strict=strict)


def test_what_does_not_fit_is_named_and_nothing_is_loaded(shared):
    backbone = other_values(shared.backbone)
    before = copy.deepcopy(backbone)
    state = published(shared.backbone, EPAM.backbone)
    del state["rgb_backbone.conv5.bn.bias"]
    message = r"missing rgb_backbone\.last\.norm\.bias; the nearest layout is published EPAM-Net of network ep"
    with pytest.raises(WeightsMismatchError, match=message):
        backbone.load_state_dict(state)
    with pytest.raises(WeightsMismatchError, match=r"missing rgb_.*; unexpected extra\.weight; "):
        backbone.load_state_dict({**state, "extra.weight": torch.zeros(1)})
    state["pose_backbone.conv1_s.conv.weight"] = torch.zeros(24, 28, 1, 3, 3)
    message = r"pose_backbone\.stem\.conv\.weight must be \(24, 17, 1, 3, 3\), got \(24, 28, 1, 3, 3\)"
    for strict in (True, False):
        with pytest.raises(WeightsMismatchError, match=message):
            backbone.load_state_dict(state, strict=strict)
    assert same(backbone, before)
    del state["pose_backbone.conv1_s.conv.weight"]
    keys = backbone.load_state_dict({**state, "extra.weight": torch.zeros(1)}, strict=False)
    assert set(keys.missing_keys) == {"rgb_backbone.last.norm.bias", "pose_backbone.stem.conv.weight"}
    assert keys.unexpected_keys == ["extra.weight"]


def test_a_network_without_published_names_takes_its_own():
    class Plain(nn.Module):
        rgb_channels = pose_channels = 2
        module_parts: ClassVar[dict[str, str]] = {}

    recogniser = TwoStreamRecogniser(Plain(), TwoStreamHead(3, 2, 2))
    assert recogniser.published_names() == {}
    filled = other_values(recogniser)
    filled.load_state_dict(recogniser.state_dict())
    assert same(filled, recogniser)


def test_a_name_means_the_same_in_each_stream():
    for names in (EPAM, RGBPOSE_CONV3D):
        for table in names.streams.values():
            assert table.items() <= names.either_stream.items()
