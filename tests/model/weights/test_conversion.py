"""What a file may lack, what is left out of it, and the words for both."""

import pytest
import torch
from torch import Tensor

from epam_model.weights.conversion import Conversion, apply_format, first_of, leave_out, part_of, unit_of
from epam_model.weights.formats import Format

PAIR = {
    **{f"backbone.{part}.weight": torch.zeros(2) for part in ("rgb_backbone.a", "rgb_backbone.b", "pose_backbone.a")},
    "backbone.attention.a.weight": torch.zeros(2),
    "backbone.attention.a.bias": torch.zeros(2),
    **{f"head.{stream}.fc.{name}": torch.zeros(3) for stream in ("rgb", "pose") for name in ("weight", "bias")},
    "head.rgb.coarse_bank.prototypes": torch.zeros(2),
    "backbone.rgb_backbone.n.num_batches_tracked": torch.tensor(0),
}
OWN = Format(name="own", names={name: name for name in PAIR})


def read(state: dict[str, Tensor], new_head: bool = False, form: Format = OWN) -> Conversion:
    return apply_format(state, PAIR, form, new_head)


def without(*endings: str) -> dict[str, Tensor]:
    return {name: value for name, value in PAIR.items() if not any(ending in name for ending in endings)}


@pytest.mark.parametrize(
    "parts", [("pose_backbone",), ("attention",), ("head.rgb",), ("head",), ("pose_backbone", "attention", "head.pose")]
)
def test_a_file_may_lack_whole_parts(parts: tuple[str, ...]):
    conversion = read(without(*parts))
    assert conversion.problems == []
    expected = [name for name in PAIR if any(part in name for part in parts) and not name.endswith("prototypes")]
    assert conversion.absent(PAIR) == expected


def test_but_not_half_of_one_nor_all_streams():
    assert read(without("attention.a.bias")).missing == ["backbone.attention.a.bias"]
    assert read(without("rgb_backbone.b")).missing == ["backbone.rgb_backbone.b.weight"]
    assert read(without("head.pose.fc.bias")).missing == ["head.pose.fc.bias"]
    heads = read({name: value for name, value in PAIR.items() if name.startswith("head.")})
    assert heads.missing[0] == "backbone.rgb_backbone.a.weight" and len(heads.missing) == 5
    assert read(without("num_batches_tracked", "prototypes")).missing == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"head.pose.fc.weight": torch.zeros(9)}, "head.pose.fc.weight must be (3,), got (9,)"),
        (
            {"head.pose.fc.weight": torch.zeros(3).int()},
            "head.pose.fc.weight must be of torch.float32, got torch.int32",
        ),
        ({"head.pose.fc.bias": None}, "head.pose.fc.bias is missing"),
    ],
)
def test_a_new_head_leaves_out_the_classifier_of_one_stream_alone(change: dict[str, Tensor | None], why: str):
    state = {name: value for name, value in {**PAIR, **change}.items() if value is not None}
    assert read(state).problems
    conversion = read(state, new_head=True)
    assert conversion.problems == [] and all(name.startswith("head.pose.") for name in conversion.left_out)
    assert set(PAIR) - set(conversion.weights) == {"head.pose.fc.weight", "head.pose.fc.bias"}
    (line,) = conversion.warnings()
    assert line.startswith(f"NOT LOADED: {len(conversion.left_out)} tensors of the file (head.pose.fc.weight")
    assert line.endswith(f"): the classifier head.pose does not fit, {why}")


def test_what_a_new_head_has_no_place_for_is_left_out_and_listed():
    form = Format(name="pcan", names={**OWN.names, "theirs": "head.rgb.fc_coarse.weight"}, left_out=("fc.",))
    state = {**PAIR, "theirs": torch.zeros(1), "fc.weight": torch.zeros(1)}
    assert read(state, form=form).unexpected == ["theirs"]
    conversion = read(state, new_head=True, form=form)
    assert conversion.unexpected == [] and conversion.matched == list(PAIR)
    assert conversion.warnings() == ["NOT LOADED: 2 tensors of the file (theirs; fc.weight): no place in the model"]
    assert conversion.table().splitlines()[-3:] == [
        "left_out    2",
        "            theirs",
        "            fc.weight",
    ]


def test_of_two_names_for_one_tensor_the_second_is_reported():
    form = Format(name="two", names={"a": "backbone.rgb_backbone.a.weight", "b": "backbone.rgb_backbone.a.weight"})
    assert read({"a": torch.ones(2), "b": torch.zeros(2)}, form=form).unexpected == ["b"]


def test_classifiers_can_be_left_out_for_a_reason():
    conversion = read(dict(PAIR))
    leave_out(conversion, {"head.rgb", "head.pose"}, "they are of another data set")
    assert not any(name.startswith("head.") for name in (*conversion.weights, *conversion.matched))
    assert len(conversion.warnings()) == 2 and len(conversion.left_out) == 5
    assert conversion.warnings()[0].endswith("the classifier head.pose does not fit, they are of another data set")


def test_names_of_parts_and_classifiers():
    assert part_of("backbone.rgb_backbone.stem.conv.weight") == "backbone.rgb_backbone"
    assert part_of("head.rgb.fine_bank.embed.weight") == "head.rgb.fine_bank" and part_of("head.fc.bias") == "head.fc"
    assert (unit_of("head.rgb.fc.weight"), unit_of("head.fc.weight")) == ("head.rgb", "head")


def test_entries_in_turn_of_bounded_length():
    assert first_of(["a", "b"]) == "a; b" and first_of([]) == ""
    assert first_of(list("abcdefg")) == "a; b; c; d; e; and 2 more"
    assert first_of([], ["m1", "m2", "m3", "m4"], ["u1", "u2"]) == "m1; u1; m2; u2; m3; and 1 more"
    assert first_of(["x" * 999]) == f"{'x' * 160}..." and first_of(["a\n\x1b[2Jb"]) == r"a\n\x1b[2Jb"
