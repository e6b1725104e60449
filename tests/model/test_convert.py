import json

import pytest
import torch

from epam_model import build_epam
from epam_model.convert import epam_from_published, epam_to_published, stream_from_published
from epam_model.networks.x_shift_net import pose_stream, rgb_stream
from tests.model.golden import ATTENTION_FILES, GOLDENS, needs_goldens


@needs_goldens
@pytest.mark.parametrize("attention_type", ATTENTION_FILES)
def test_names_and_shapes_are_the_published_ones(attention_type):
    keys_file = ATTENTION_FILES[attention_type].replace("_small", "_keys.json")
    published = {name: tuple(shape) for name, shape in json.loads((GOLDENS / keys_file).read_text())["state_dict"]}
    state = build_epam(60, attention_type=attention_type).state_dict()
    ours = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert epam_from_published(published) == ours
    assert epam_to_published(ours) == published


@pytest.mark.parametrize("attention_type", ATTENTION_FILES)
def test_there_and_back_is_the_identity(attention_type):
    state = build_epam(60, attention_type=attention_type).state_dict()
    published = epam_to_published(state)
    assert len(published) == len(state)
    assert (
        published["rgb_backbone.layer4.6.conv3.bn.weight"]
        is state["backbone.rgb_backbone.stages.3.6.project.norm.weight"]
    )
    assert list(epam_from_published(published)) == list(state)


@pytest.mark.parametrize(("name", "make"), [("rgb", rgb_stream), ("pose", pose_stream)])
def test_a_single_stream(name, make):
    prefix = f"{name}_backbone."
    published = [key for key in epam_to_published(build_epam(2).state_dict()) if key.startswith(prefix)]
    of_stream = {key.removeprefix(prefix): torch.zeros(()) for key in published}
    assert stream_from_published(of_stream, name).keys() == make().state_dict().keys()


def test_unknown_names_are_all_listed():
    state = {
        "rgb_backbone.conv1_s.conv.weight": 0,
        "extra.weight": 1,
        "rgb_backbone.layer1.3.conv1.bn.bias": 2,
    }
    with pytest.raises(ValueError, match=r"2 names that the published EPAM-Net lacks: \['extra.weight', 'rgb_b.*3"):
        epam_from_published(state)
    with pytest.raises(ValueError, match="3 names that our EPAM-Net lacks"):
        epam_to_published(state)
    with pytest.raises(ValueError, match="1 names that the published pose stream lacks"):
        stream_from_published({"layer4.0.conv1.conv.weight": 0}, "pose")
    with pytest.raises(ValueError, match=r"stream must be one of \['rgb', 'pose'\], got 'flow'"):
        stream_from_published({}, "flow")
