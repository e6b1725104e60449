from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from epam_data.shards.manifest import load_manifest
from epam_model.build import build_for, build_model
from epam_model.losses.objective import OBJECTIVES, total
from epam_model.losses.settings import LossSettings
from epam_model.networks.heads import prototype_banks
from epam_model.networks.recogniser import TwoStreamRecogniser
from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.networks.settings import ModelSettings
from epam_model.networks.single_stream import SingleStreamRecogniser
from epam_model.networks.table import NETWORKS
from epam_model.weights.checkpoint import Checkpoint, save_checkpoint
from epam_model.weights.convert import to_mmaction2
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D
from tests.model.on_cuda import Operations

CLIPS = {"epam": (4, 12), "rgbpose_conv3d": (2, 8)}


def build(
    num_classes: int = 6,
    num_joints: int = 17,
    groups: int = 3,
    seed: int = 0,
    tell: Callable[[str], None] = print,
    classes: tuple[str, ...] = (),
    **settings,
) -> torch.nn.Module:
    return build_model(
        ModelSettings(**settings),
        num_classes=num_classes,
        num_joints=num_joints,
        num_coarse_classes=groups,
        classes=classes,
        seed=seed,
        tell=tell,
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


def by_authors(weights: dict[str, torch.Tensor], network: str, stream: str) -> dict[str, torch.Tensor]:
    """A single stream as a pair's authors name it: the half of their pair, without `backbone.`."""
    path, head = ("backbone", f"{stream}_cls_head.fc_cls") if network == "epam" else ("path", f"cls_head.fc_{stream}")
    names = to_mmaction2(weights, NETWORKS[network].published, stream)
    return {
        name.replace("backbone.", f"{stream}_{path}.", 1).replace("cls_head.fc_cls", head): value
        for name, value in names.items()
    }


LAYOUTS = {
    "ours": lambda weights, network, stream: weights,
    "MMAction2": lambda weights, network, stream: to_mmaction2(weights, NETWORKS[network].published, stream),
    "authors": by_authors,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("network", "head"), [("epam", "linear"), ("epam", "pcan"), ("rgbpose_conv3d", "pcan")])
def test_streams_trained_alone_start_the_pair_with_their_classifiers(network, head, layout, tmp_path: Path):
    alone = {stream: build(network=network, streams=stream, head=head, seed=9) for stream in ("rgb", "pose")}
    files = []
    for stream, start in alone.items():
        files.append(tmp_path / f"{stream}.pt")
        torch.save({"state_dict": LAYOUTS[layout](start.state_dict(), network, stream)}, files[-1])
    told: list[str] = []
    model = build(network=network, head=head, init_from=list(map(str, files)), tell=told.append)
    joint = {"epam": "backbone.attention"}.get(network, "backbone.interactions, backbone.pose_to_rgb")
    assert len(told) == 3 and told[2].startswith(f"NOT LOADED: no file of model.init_from has {joint}")
    for stream, start in alone.items():
        classifier = getattr(model.head, stream).state_dict()
        assert classifier.keys() == start.head.state_dict().keys()
        assert all(torch.equal(classifier[name], value) for name, value in start.head.state_dict().items())
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
        assert "NOT LOADED: 16 tensors of the file (head.rgb." in told[1] and told[1].endswith(
            "): no place in the model"
        )
    else:
        layers = [f"head.{stream}.{layer}" for stream in ("pose", "rgb") for layer in ("coarse_bank", "fc_coarse")]
        assert told[1].startswith("NOT LOADED: no file of model.init_from has head.pose.coarse_bank, head.pose.fc_coar")
        assert told[1].endswith("they start with random weights") and all(layer in told[1] for layer in layers)
    assert len(told) == 2


def test_cut_and_joined_a_pair_predicts_the_same(tmp_path: Path):
    """Each stream of a pair starts a single one, and both of these start a pair: logits are those of the start."""
    head = "pcan"
    pair = build(seed=9, head=head).eval()
    path = str(save(pair, tmp_path / "pair.pt"))
    told: list[str] = []
    halves = [build(streams=stream, head=head, init_from=[path], tell=told.append) for stream in ("rgb", "pose")]
    assert told[0].startswith(f"{path}: epam pair, its rgb stream: ") and len(told) == 4
    assert "tensors of the file (backbone.pose_backbone.stem.conv.weight; " in told[1]
    assert told[1].endswith(" more): no place in the model")
    files = [str(save(half, tmp_path / f"{number}.pt")) for number, half in enumerate(halves)]
    joined = build(seed=2, head=head, init_from=files).eval()
    clips = torch.rand(2, 3, 4, 32, 32), torch.rand(2, 17, 12, 8, 8)
    with torch.no_grad():
        assert torch.equal(joined(*clips).pose, pair(*clips).pose)
    for name, value in joined.state_dict().items():
        assert torch.equal(value, pair.state_dict()[name]) or name.startswith("backbone.attention."), name


def test_a_classifier_of_other_classes_is_left_out_with_the_reason(tmp_path: Path):
    classes = tuple("abcdef")
    files = []
    for stream, theirs in (("rgb", classes), ("pose", (*classes[:5], "g"))):
        alone = build(streams=stream, seed=9)
        files.append(str(tmp_path / f"{stream}.pt"))
        values = {"optimizer": {}, "epoch": 1, "consumed": 0, "shards": {"classes": list(theirs)}, "recipe": {}}
        save_checkpoint(Path(files[-1]), Checkpoint(weights=alone.state_dict(), **values))
    told: list[str] = []
    model = build(init_from=files, classes=classes, tell=told.append)
    assert told[2] == (
        f"{files[1]}: NOT LOADED: 2 tensors of the file (head.fc.weight; head.fc.bias): "
        "the classifier head.pose does not fit, its class 5 is 'g', here it is 'f'"
    )
    assert told[3] == (
        "NOT LOADED: no file of model.init_from has backbone.attention, head.pose.fc; they start with random weights"
    )
    fresh = build().state_dict()
    assert torch.equal(model.head.pose.fc.weight, fresh["head.pose.fc.weight"])
    assert not torch.equal(model.head.rgb.fc.weight, fresh["head.rgb.fc.weight"])
    told.clear()
    build(7, init_from=files[:1], tell=told.append)
    assert "the classifier head.rgb does not fit, head.rgb.fc.weight must be (7, 432), got (6, 432)" in told[1]


def test_two_paths_without_laterals_and_a_network_without_interaction_start_pcans(tmp_path: Path):
    """What MMAction2's notebook merges, and MMAction2's own checkpoints."""
    start = build(network="rgbpose_conv3d", interaction=False, seed=9)
    published = to_mmaction2(start.state_dict(), RGBPOSE_CONV3D, "both")
    merged = {name: value for name, value in published.items() if "_lateral" not in name}
    interactions = "backbone.interactions"
    for state, absent in ((published, interactions), (merged, f"{interactions}, backbone.pose_to_rgb, backbone.rgb_")):
        torch.save({"meta": {}, "state_dict": state}, tmp_path / "start.pth")
        told: list[str] = []
        model = build(network="rgbpose_conv3d", init_from=[str(tmp_path / "start.pth")], tell=told.append)
        assert len(told) == 2 and told[0].endswith(f": MMAction2 rgbpose_conv3d: {len(state)} tensors loaded")
        assert told[1].startswith(f"NOT LOADED: no file of model.init_from has {absent}")
        loaded = to_mmaction2(model.state_dict(), RGBPOSE_CONV3D, "both")
        assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_half_of_a_part_is_refused(tmp_path: Path):
    weights = build(seed=9).state_dict()
    del weights["backbone.attention.temporal.weight"]
    torch.save(weights, tmp_path / "cut.pt")
    with pytest.raises(ValueError, match=r"cut\.pt: .* missing backbone\.attention\.temporal\.weight; the nearest lay"):
        build(init_from=[str(tmp_path / "cut.pt")])


@pytest.mark.parametrize(
    ("names", "nearest"),
    [
        (
            RGBPOSE_CONV3D.mmaction2,
            r"MMAction2 rgbpose_conv3d of network rgbpose_conv3d \(658 of the file's 658 names",
        ),
        (
            RGBPOSE_CONV3D.streams["rgb"],
            r"published rgb stream of network rgbpose_conv3d \(318 of the file's 318 names",
        ),
        (
            dict.fromkeys([f"encoder.{'x' * 500}.{number}" for number in range(999)]),
            "no layout that can be read has an",
        ),
    ],
    ids=["another pair", "another stream", "nothing of ours"],
)
def test_what_cannot_load_says_what_it_is_nearest_to(names, nearest, tmp_path: Path):
    torch.save({f"module.{name}": torch.zeros(1) for name in names}, tmp_path / "theirs.pth")
    with pytest.raises(
        ValueError, match=rf"the weights do not fit the model, read as .* more; (the.*){{0,1}}{nearest}"
    ) as caught:
        build(init_from=[str(tmp_path / "theirs.pth")])
    text = str(caught.value)
    assert len(text) < 1500 and text.count("missing ") + text.count("unexpected ") + text.count(" must be ") == 5


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


@pytest.mark.parametrize("head", ["linear", "pcan"])
@pytest.mark.parametrize("network", CLIPS)
def test_losses_and_gradients_are_deterministic_on_cuda_and_wait_for_nothing(network: str, head: str):
    """Fake tensors have no values: code that reads one, for which a GPU would have to be waited for, fails."""
    with FakeTensorMode(), Operations() as operations:
        model = build(network=network, head=head, num_joints=5)
        clips = (torch.rand(2, *shape) for shape in ((3, CLIPS[network][0], 32, 32), (5, CLIPS[network][1], 8, 8)))
        objective = OBJECTIVES[head](model, LossSettings(), (0, 0, 1, 1, 2, 2))
        loss = total(objective.terms(model(*clips), torch.tensor([0, 3])))
        loss.backward()
        objective.end_step(True)
        with pytest.raises(DataDependentOutputException):
            loss.item()
    assert "convolution_backward" in operations.names
    assert operations.not_deterministic() == set()


def test_the_operations_that_are_not_deterministic_are_seen():
    x = torch.rand(1, 2, 4, 4, requires_grad=True)
    with Operations() as operations:
        torch.nn.functional.adaptive_max_pool2d(x, 1).sum().backward()
    assert operations.not_deterministic() == {"adaptive_max_pool2d_backward"}
