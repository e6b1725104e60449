"""A reader and its protocols check themselves; a layout of one's own and missing groups are allowed."""

import re
from typing import Any

import pytest

from epam_data.readers import DATASETS, Protocol, Reader, find_reader
from epam_data.skeleton import COCO17, LAYOUTS, SkeletonLayout
from epam_data.taxonomy import TAXONOMIES, Taxonomy

HAND = SkeletonLayout(name="hand", joints=("wrist", "left_tip", "right_tip"), flip_pairs=((1, 2),), limbs=())
NAMES = re.compile(r"p(?P<subject>\d+)_c(?P<camera>\d)")


def reader(**changes: Any) -> Reader:
    values = {"read": lambda raw: iter(()), "skeleton": "coco17", "taxonomy": Taxonomy(name="toy", classes=("a", "b"))}
    return Reader(**{**values, **changes})


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_table_has_a_reader_of_its_name(dataset: str) -> None:
    found = find_reader(dataset)
    assert found.taxonomy is TAXONOMIES[dataset]
    assert found.layout in LAYOUTS.values()


def test_a_skeleton_is_a_known_name_or_a_layout_of_ones_own() -> None:
    assert reader().layout is COCO17
    assert reader(skeleton=COCO17).layout is COCO17
    assert reader(skeleton=HAND).layout is HAND
    with pytest.raises(
        ValueError, match=r"^skeleton must be one of coco17, ma52_28, or a SkeletonLayout, got 'kinect'$"
    ):
        reader(skeleton="kinect")
    taken = SkeletonLayout(name="coco17", joints=("nose",), flip_pairs=(), limbs=())
    with pytest.raises(ValueError, match=r"^skeleton coco17: another layout has this name, choose a new one$"):
        reader(skeleton=taken)


def test_names_without_a_pattern_say_nothing() -> None:
    assert reader().name_fields("p12_c3") == {}
    assert reader(name_pattern=NAMES).name_fields("train/p12_c3") == {"subject": 12, "camera": 3}


def test_a_protocol_splits_by_a_field_that_names_have() -> None:
    rule = Protocol(split_by="subject", values={"train": frozenset((1, 2)), "test": frozenset((3,))})
    assert [rule.split_of({"subject": number}) for number in (1, 2, 3, 4)] == ["train", "train", "test", None]
    assert reader(name_pattern=NAMES, protocols={"cs": rule}).protocols["cs"] is rule
    for changes, known in (({}, "none"), ({"name_pattern": re.compile(r"c(?P<camera>\d)")}, "camera")):
        message = rf"^protocol cs: names have no field 'subject', their fields: {known}$"
        with pytest.raises(ValueError, match=message):
            reader(protocols={"cs": rule}, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_clips": {"dev": 3}}, r"^protocol: splits must be of train, val, test, got dev$"),
        ({"split_by": "camera"}, r"^protocol: split_by and values go together, got 'camera' and \{\}$"),
        ({"values": {"train": frozenset((1,))}}, r"^protocol: split_by and values go together, got None and "),
        (
            {"split_by": "camera", "values": {"train": frozenset((1, 2)), "val": frozenset((2,))}},
            r"^protocol: camera 2 must be in one split$",
        ),
    ],
)
def test_a_protocol_checks_itself(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(**changes)
