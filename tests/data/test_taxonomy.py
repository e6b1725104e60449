"""Class tables against the published ranges and names."""

import re
import subprocess
import sys

import pytest

from epam_data.taxonomy import TAXONOMIES, Taxonomy, parse_table, parse_taxonomy

NTU60_GROUPS = {
    "self_care": [0, 1, 2, 3, 36],
    "dressing": [13, 14, 15, 16, 17, 18, 19, 20],
    "object_manipulation": [4, 5, 6, 10, 11, 12, 24],
    "device_use": [27, 28, 29, 31, 32],
    "locomotion_and_posture": [7, 8, 23, 25, 26],
    "gesture": [9, 21, 22, 30, 33, 34, 35, 37, 38, 39],
    "health": [40, 41, 42, 43, 44, 45, 46, 47, 48],
    "mutual": [49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59],
}
MA52_RANGES = [(0, 4), (5, 10), (11, 23), (24, 31), (32, 37), (38, 47), (48, 51)]


def test_ma52_has_the_seven_published_ranges() -> None:
    taxonomy = TAXONOMIES["ma52"]
    assert len(taxonomy.classes) == 52
    assert taxonomy.groups == (
        *("body", "head", "upper_limb", "lower_limb"),
        *("body_hand", "head_hand", "leg_hand"),
    )
    expected = [group for group, (first, last) in enumerate(MA52_RANGES) for _ in range(first, last + 1)]
    assert list(taxonomy.coarse_of) == expected


def test_ntu60_has_the_eight_groups_of_the_project() -> None:
    taxonomy = TAXONOMIES["ntu60"]
    assert taxonomy.groups == tuple(NTU60_GROUPS)
    assert len(taxonomy.classes) == 60
    for coarse, members in enumerate(NTU60_GROUPS.values()):
        assert [label for label, group in enumerate(taxonomy.coarse_of) if group == coarse] == members


@pytest.mark.parametrize(
    ("name", "label", "text"),
    [
        ("ntu60", 0, "drink water"),
        ("ntu60", 36, "wipe face"),
        ("ntu60", 59, "walking apart from each other"),
        ("ma52", 0, "shaking body"),
        ("ma52", 51, "scratching feet"),
        ("synthetic", 5, "kick forward"),
    ],
)
def test_some_names(name: str, label: int, text: str) -> None:
    assert TAXONOMIES[name].classes[label] == text


@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=TAXONOMIES)
def test_names_are_distinct(taxonomy: Taxonomy) -> None:
    assert len(set(taxonomy.classes)) == len(taxonomy.classes)
    assert taxonomy.name in TAXONOMIES


def test_groups_may_list_labels_in_any_order() -> None:
    taxonomy = parse_taxonomy("toy", {"b": {2: "z", 0: "x"}, "a": {1: "y"}})
    assert (taxonomy.classes, taxonomy.groups, taxonomy.coarse_of) == (("x", "y", "z"), ("b", "a"), (0, 1, 0))


@pytest.mark.parametrize(
    ("groups", "twice", "missing"),
    [
        ({"a": {0: "x"}, "b": {0: "y", 1: "z"}}, [0], []),
        ({"a": {0: "x"}, "b": {3: "y"}}, [], [1, 2]),
        ({"a": {1: "x", 2: "w"}, "b": {2: "y"}}, [2], [0]),
    ],
)
def test_labels_at_fault_are_listed(groups: dict, twice: list[int], missing: list[int]) -> None:
    message = f"toy: labels must be 0..K-1, each once; twice: {twice}, missing: {missing}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_taxonomy("toy", groups)


def test_a_taxonomy_checks_itself() -> None:
    with pytest.raises(ValueError, match=r"^toy: each of the 2 classes needs a group, got 1$"):
        Taxonomy(name="toy", classes=("a", "b"), groups=("g",), coarse_of=(0,))
    with pytest.raises(ValueError, match=r"^toy: coarse labels must cover 0\.\.1, got \[0\]$"):
        Taxonomy(name="toy", classes=("a", "b"), groups=("g", "h"), coarse_of=(0, 0))
    with pytest.raises(ValueError, match=r"^toy: coarse labels must cover 0\.\.0, got \[0, 7\]$"):
        Taxonomy(name="toy", classes=("a", "b"), groups=("g",), coarse_of=(0, 7))


def test_groups_are_optional() -> None:
    plain = Taxonomy(name="toy", classes=("a", "b"))
    assert (plain.groups, plain.coarse_of) == ((), ())
    assert plain.coarse_label(1) is None and plain.coarse_label(None) is None
    grouped = Taxonomy(name="toy", classes=("a", "b"), groups=("g", "h"), coarse_of=(1, 0))
    assert [grouped.coarse_label(label) for label in (0, 1, None)] == [1, 0, None]


def test_a_table_has_groups_or_a_list_of_classes() -> None:
    assert parse_table("toy", "classes: [drink water, eat meal]") == Taxonomy(
        name="toy", classes=("drink water", "eat meal")
    )
    assert parse_table("toy", "groups: {a: {0: x}}") == parse_taxonomy("toy", {"a": {0: "x"}})
    for text, got in (
        ("", "nothing"),
        ("classes: [x]\ngroups: {a: {0: x}}", "classes, groups"),
        ("kinds: []", "kinds"),
    ):
        with pytest.raises(ValueError, match=f"^toy: a table must have either 'groups' or 'classes', got {got}$"):
            parse_table("toy", text)


def test_a_table_is_read_when_it_is_asked_for() -> None:
    code = (
        "import epam_data.readers, epam_data.taxonomy as t\n"
        "assert 'ntu60' in t.TAXONOMIES and len(t.TAXONOMIES) == 3\n"
        "assert t._read_table.cache_info().misses == 0\n"
        "assert t.TAXONOMIES['ntu60'] is t.TAXONOMIES['ntu60']\n"
        "assert t._read_table.cache_info().misses == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(KeyError):
        TAXONOMIES["kinetics"]
