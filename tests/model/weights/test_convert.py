import json

import pytest
import torch
from torch import Tensor

from epam_model.build import build_model
from epam_model.networks.recogniser import build_epam
from epam_model.networks.resnet_path import rgb_path
from epam_model.networks.settings import ModelSettings
from epam_model.networks.table import NETWORKS
from epam_model.networks.x_shift_net import pose_stream, rgb_stream
from epam_model.weights.convert import (
    convert,
    load_pretrained,
    model_formats,
    rename,
    stream_formats,
    to_mmaction2,
    to_published,
)
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import inverse
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D
from tests.model.golden import ATTENTION_FILES, GOLDENS
from tests.model.shared_goldens import needs_goldens

PUBLISHED_EPAM = EPAM.releases["published EPAM-Net"]


def build(num_classes: int = 60, num_joints: int = 17, **settings) -> torch.nn.Module:
    return build_model(ModelSettings(**settings), num_classes=num_classes, num_joints=num_joints, num_coarse_classes=8)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def published_shapes(file: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in json.loads((GOLDENS / file).read_text())["state_dict"]}


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


@needs_goldens
@pytest.mark.parametrize("attention_type", ATTENTION_FILES)
def test_names_and_shapes_are_the_published_ones(attention_type):
    published = published_shapes(ATTENTION_FILES[attention_type].replace("_small", "_keys.json"))
    ours = shapes(build_epam(60, attention_type=attention_type).state_dict())
    assert rename(published, PUBLISHED_EPAM, "it") == ours
    assert to_published(ours, EPAM, "both") == published


@needs_goldens
@pytest.mark.parametrize("num_joints", [17, 28])
def test_names_and_shapes_of_pcan_are_the_published_ones(num_joints):
    model = build(num_joints=num_joints, network="rgbpose_conv3d", head="pcan")
    ours = shapes(to_published(model.state_dict(), RGBPOSE_CONV3D, "both"))
    backbone = published_shapes(f"pcan_backbone_kp{num_joints}_keys.json")
    head = published_shapes("pcan_head_ntu60_keys.json")
    published = {f"backbone.{name}": shape for name, shape in backbone.items()}
    published |= {f"cls_head.{name}": shape for name, shape in head.items()}
    for stream in ("rgb", "pose"):  # what PCAN forgot to save
        assert ours.pop(f"cls_head.fr_coarse_{stream}.spatio_cl_net.avg_f") == (128, 8)
    assert ours == published


@pytest.mark.parametrize("attention_type", ATTENTION_FILES)
def test_there_and_back_is_the_identity(attention_type):
    state = build_epam(60, attention_type=attention_type).state_dict()
    published = to_published(state, EPAM, "both")
    assert len(published) == len(state)
    assert (
        published["rgb_backbone.layer4.6.conv3.bn.weight"]
        is state["backbone.rgb_backbone.stages.3.6.project.norm.weight"]
    )
    assert list(rename(published, PUBLISHED_EPAM, "it")) == list(state)


@pytest.mark.parametrize("to", [to_published, to_mmaction2])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attention_type": "spatial_temporal", "head": "pcan"},
        {"streams": "rgb", "head": "pcan"},
        {"streams": "pose"},
        {"network": "rgbpose_conv3d", "head": "pcan"},
        {"network": "rgbpose_conv3d", "interaction": False},
        {"network": "rgbpose_conv3d", "streams": "rgb"},
        {"network": "rgbpose_conv3d", "streams": "pose", "head": "pcan"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "epam",
)
def test_files_of_others_become_ours_exactly(settings, to, tmp_path):
    """Our weights under published names, wrapped and prefixed as DDP does, and read back by recognition alone."""
    names = NETWORKS[settings.get("network", "epam")].published
    model = build(**settings)
    published = to(model.state_dict(), names, settings.get("streams", "both"))
    torch.save({"model_state_dict": {f"module.{name}": v for name, v in published.items()}}, tmp_path / "c.pth")
    again = build_model(
        ModelSettings(**settings, init_from=[str(tmp_path / "c.pth")]),
        num_classes=60,
        num_joints=17,
        num_coarse_classes=8,
        seed=5,
    )
    assert same(again.state_dict(), model.state_dict())


@pytest.mark.parametrize(("name", "make"), [("rgb", rgb_stream), ("pose", pose_stream)])
@pytest.mark.parametrize("prefix", ["", "backbone.", "{}_backbone."])
def test_a_single_stream_under_its_usual_prefixes(name, make, prefix, tmp_path):
    stream, other = make(), make()
    names = inverse(EPAM.streams[name])
    state = {prefix.format(name) + names[ours]: value for ours, value in stream.state_dict().items()}
    torch.save({"state_dict": state | {"cls_head.fc_cls.weight": torch.zeros(3, 4)}}, tmp_path / "s.pth")
    conversion = load_pretrained(other, tmp_path / "s.pth", name, EPAM)
    assert same(other.state_dict(), stream.state_dict())
    assert conversion.left_out == ["cls_head.fc_cls.weight"]


def test_published_pcan_lacks_the_coarse_prototypes(tmp_path):
    model = build(network="rgbpose_conv3d", head="pcan")
    published = to_published(model.state_dict(), RGBPOSE_CONV3D, "both")
    saved = {name: v for name, v in published.items() if "coarse" not in name or not name.endswith("avg_f")}
    conversion = convert(saved, model.state_dict(), model_formats("both", model.state_dict(), RGBPOSE_CONV3D))
    assert conversion.problems == [] and len(conversion.matched) == len(saved) == len(published) - 2


def test_resnet50_in_2d_is_inflated(tmp_path):
    path, names = rgb_path(), inverse(RGBPOSE_CONV3D.starts["rgb"]["ResNet-50, 2-D"])
    state = {}
    for ours, value in path.state_dict().items():
        state[names[ours]] = value.sum(dim=2) if value.ndim == 5 else value
    state |= {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    other = rgb_path().eval()
    torch.save(state, tmp_path / "r50.pth")
    conversion = load_pretrained(other, tmp_path / "r50.pth", "rgb", RGBPOSE_CONV3D)
    assert conversion.format == "ResNet-50, 2-D" and conversion.left_out == ["fc.weight", "fc.bias"]
    weight = other.stages[3][1].reduce.conv.weight
    torch.testing.assert_close(weight, state["layer4.1.conv1.weight"][:, :, None].expand_as(weight) / 3)
    assert any("inflated" in text for text in conversion.reshaped)


def test_x3d_starts_the_rgb_stream(tmp_path):
    """X3D has depthwise kernels of 3x3x3 and a temporal stem: on a clip that stands still, the sums are the same."""
    stream, names = rgb_stream(), inverse(EPAM.streams["rgb"])
    published = {names[ours]: value for ours, value in stream.state_dict().items()}
    x3d: dict[str, Tensor] = {}
    for name, value in published.items():
        if ".conv2.conv" in name:
            value = torch.randn(value.shape[0], 1, 3, 3, 3)
        x3d["backbone." + name.replace("conv1_s.bn", "conv1_t.bn")] = value
    time = torch.randn(24, 1, 5, 1, 1)
    x3d["backbone.conv1_t.conv.weight"] = time
    torch.save({"state_dict": x3d | {"cls_head.fc1.weight": torch.zeros(1)}}, tmp_path / "x3d.pth")
    other = rgb_stream()
    conversion = load_pretrained(other, tmp_path / "x3d.pth", "rgb", EPAM)
    expected = published["conv1_s.conv.weight"] * time.sum(dim=2, keepdim=True)
    torch.testing.assert_close(other.stem.conv.weight, expected)
    kernel = x3d["backbone.layer2.3.conv2.conv.weight"].sum(dim=2, keepdim=True)
    torch.testing.assert_close(other.stages[1][3].depthwise.conv.weight, kernel)
    assert len(conversion.reshaped) == 26 and "summed over time" in conversion.reshaped[0]


def test_the_table_accounts_for_every_name():
    stream = pose_stream()
    state = {f"backbone.{inverse(EPAM.streams['pose'])[n]}": v for n, v in stream.state_dict().items()}
    del state["backbone.conv5.bn.bias"]
    state |= {"extra.weight": torch.zeros(1), "backbone.conv1_s.conv.weight": torch.zeros(24, 28, 1, 3, 3)}
    conversion = convert(state, stream.state_dict(), stream_formats("pose", stream.state_dict(), EPAM))
    assert conversion.missing == ["last.norm.bias"]
    assert conversion.unexpected == ["extra.weight"]
    assert conversion.misfits == {"stem.conv.weight": "must be (24, 17, 1, 3, 3), got (24, 28, 1, 3, 3)"}
    table = conversion.table()
    assert "MMAction2 pose recogniser" in table and "matched     " + str(len(conversion.matched)) in table
    assert all(name in table for name in ("last.norm.bias", "extra.weight", "(24, 28, 1, 3, 3)"))


def test_nothing_loads_half_way(tmp_path):
    stream = pose_stream()
    before = {name: value.clone() for name, value in stream.state_dict().items()}
    state = {name: value + 1 for name, value in before.items() if name != "stem.conv.weight"}
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"part\.pth: the weights do not fit .* missing stem\.conv\.weight"):
        load_pretrained(stream, tmp_path / "part.pth", "pose", EPAM)
    assert same(stream.state_dict(), before)
    torch.save({"a": torch.zeros(1)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"unexpected a"):
        load_pretrained(stream, tmp_path / "part.pth", "pose", EPAM)


def test_unknown_names_are_all_listed():
    state = {
        "rgb_backbone.conv1_s.conv.weight": 0,
        "extra.weight": 1,
        "rgb_backbone.layer1.3.conv1.bn.bias": 2,
    }
    with pytest.raises(ValueError, match=r"2 names that the published EPAM-Net lacks: extra.weight; rgb_b.*3"):
        rename(state, PUBLISHED_EPAM, "the published EPAM-Net")
    with pytest.raises(ValueError, match="3 names that our epam lacks"):
        to_published(state, EPAM, "both")
    assert "cls_head.fc_rgb.weight" in EPAM.mmaction2


@pytest.mark.parametrize("streams", ["both", "rgb", "pose"])
def test_without_published_names_our_own_files_are_read_and_no_others(streams):
    target = build(streams=streams).state_dict()
    formats = model_formats(streams, target, None)
    assert {form.name.split()[0] for form in formats} == {"epam"}
    parts = ("rgb", "pose") if streams == "both" else (streams,)
    for stream in parts:
        alone = build(streams=stream, num_classes=3).state_dict()  # its head is of other classes
        read = convert(alone, target, formats, new_head=True)
        assert not read.problems and len(read.matched) == len(alone) - 2
        published = to_published(alone, EPAM, stream)
        assert convert(published, target, formats, new_head=True).problems


def test_a_head_of_other_classes_is_a_problem_unless_a_new_head_is_asked_for():
    target, other = build(num_classes=6).state_dict(), build(num_classes=7).state_dict()
    problems = convert(other, target, model_formats("both", target, EPAM)).problems
    assert len(problems) == 4 and all(problem.startswith("head.") for problem in problems)
    assert not convert(other, target, model_formats("both", target, EPAM), new_head=True).problems


def test_what_a_file_of_one_stream_lacks_is_the_rest_of_the_network():
    """Counters of batches count for nothing: nobody saves them alike."""
    target, alone = build().state_dict(), rgb_stream().state_dict()
    conversion = convert(alone, target, model_formats("both", target, EPAM))
    absent = conversion.absent(target)
    assert set(absent) == {
        name
        for name in target
        if not name.startswith("backbone.rgb_backbone.") and not name.endswith("num_batches_tracked")
    }
    assert absent and not conversion.absent({name: target[name] for name in conversion.weights})


def test_the_table_is_bounded():
    stream = pose_stream()
    state = {f"{number}" + "x" * 330 + "\n": torch.zeros(1) for number in range(2000)} | dict(stream.state_dict())
    table = convert(state, stream.state_dict(), stream_formats("pose", stream.state_dict(), EPAM)).table()
    assert "unexpected  2000\n" in table and "and 1500 more" in table and len(table) < 100_000
    assert max(map(len, table.splitlines())) < 200
