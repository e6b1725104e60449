import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from epam_data.shards.index import Index, load_index
from epam_data.shards.manifest import load_manifest
from epam_data.views.labels import view_manifest
from epam_data.views.resolve import ResolvedView, resolve_view
from epam_data.views.view import View
from tests.data.catalogue import index, manifest, name

TABLE = manifest()
KEYS = [name(1, 1, 1), name(2, 1, 2), name(3, 2, 3), name(1, 2, 4), name(2, 3, 1)]
INDEX = index(KEYS, [0, 0, 1, 1, 2], [0, 1, 2, 3, -1])
FIRST, SECOND, THIRD, FOURTH = TABLE.classes[:4]


def resolved(**rules: object) -> ResolvedView:
    return resolve_view(View(**rules), TABLE, INDEX)  # type: ignore[arg-type]


def labels(view: ResolvedView) -> dict[str, str]:
    """The class of each clip of the view whose label is known."""
    rows = np.concatenate(list(view.rows.values()))
    named = {view.index.keys[row].decode(): view.index.label[row] for row in rows if view.index.label[row] >= 0}
    return {key: view.manifest.classes[number] for key, number in named.items()}


def csv_file(tmp_path: Path, *lines: str, header: str = "name,label") -> str:
    (tmp_path / "labels.csv").write_text("\n".join([header, *lines]) + "\n")
    return str(tmp_path / "labels.csv")


def test_classes_are_merged_renamed_and_dropped():
    view = resolved(class_map={FIRST: "food", SECOND: "food", THIRD: None})
    assert view.manifest.classes[:2] == ("food", FOURTH) and len(view.manifest.classes) == 58
    assert labels(view) == {KEYS[0]: "food", KEYS[1]: "food", KEYS[3]: FOURTH}
    assert view.rows["train"].tolist() == [0, 1, 3] and view.rows["val"].tolist() == [4]
    assert view.index.label[4] == -1, "hidden labels stay hidden"
    assert view.manifest.groups == () and view.manifest.coarse_of == () and (view.index.coarse_label == -1).all()


def test_groups_take_the_place_of_classes():
    view = resolved(class_map="groups")
    assert view.manifest.classes == tuple(dict.fromkeys(TABLE.groups[group] for group in TABLE.coarse_of))
    assert labels(view) == {key: TABLE.groups[TABLE.coarse_of[number]] for number, key in enumerate(KEYS[:4])}


def test_a_table_gives_labels_by_name(tmp_path: Path):
    path = csv_file(tmp_path, f"{KEYS[4]},{SECOND}", f'{KEYS[0]},"{FOURTH}"')
    view = resolved(labels=path)
    assert labels(view) == {KEYS[0]: FOURTH, KEYS[1]: SECOND, KEYS[2]: THIRD, KEYS[3]: FOURTH, KEYS[4]: SECOND}
    assert view.manifest.classes == TABLE.classes


def test_a_table_of_new_classes_names_them(tmp_path: Path):
    path = csv_file(tmp_path, *(f"{key},{'up' if number % 2 else 'down'}" for number, key in enumerate(KEYS[:3])))
    view = resolved(labels=path, class_names=("up", "down"))
    assert view.manifest.classes == ("up", "down")
    assert labels(view) == {KEYS[0]: "down", KEYS[1]: "up", KEYS[2]: "down"}, "clips without a new label are left out"


def test_the_order_of_classes_can_be_chosen():
    two = dict.fromkeys(TABLE.classes[2:])
    view = resolved(class_map=two, class_names=(SECOND, FIRST))
    assert view.index.label[:2].tolist() == [1, 0] and labels(view) == {KEYS[0]: FIRST, KEYS[1]: SECOND}


def test_the_hash_is_of_labels_too(tmp_path: Path):
    plain = resolved()
    swapped = resolved(class_map={FIRST: SECOND, SECOND: FIRST})
    renamed = resolved(class_map={FIRST: "x"})
    same = resolved(labels=csv_file(tmp_path, f"{KEYS[0]},{FIRST}"))
    assert len({plain.sha256, swapped.sha256, renamed.sha256, same.sha256}) == 4
    assert resolved(class_map={FIRST: "x"}).sha256 == renamed.sha256


def test_the_manifest_alone_has_the_classes(people_shards: Path):
    shards = load_manifest(people_shards)
    view = View(class_map={shards.classes[0]: "greet", shards.classes[1]: "greet"})
    assert view_manifest(people_shards, view).classes == ("greet", *shards.classes[2:])
    assert view_manifest(people_shards, View(fraction=0.5)) == shards
    assert resolve_view(view, shards, load_index(people_shards)).manifest.classes == ("greet", *shards.classes[2:])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"class_map": {"drink watr": "x"}},
            "view.class_map: the shards have no class 'drink watr' (nearest: drink wat",
        ),
        ({"class_names": ("a", "a")}, "view.class_names: 'a' stands twice"),
        ({"class_names": ("a",)}, f"view.class_names lacks '{FIRST}', a class of the shards; map it to null"),
        ({"class_map": {FIRST: "x"}, "classes": (FIRST,)}, f"view.classes: the shards have no class '{FIRST}'"),
    ],
)
def test_unknown_classes_are_named(rules: dict[str, object], message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        resolved(**rules)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x,y"], "labels.csv, line 2: the shards have no clip 'x'"),
        ([f"{KEYS[0]},drink watr"], "there is no class 'drink watr' (nearest: drink water"),
        ([f"{KEYS[0]},{FIRST}", f"{KEYS[0]},{FIRST}"], f"labels.csv, line 3: {KEYS[0]} stands twice"),
        ([f'{KEYS[0]},"a'], "labels.csv: not a CSV file after line 1 (unexpected end of data)"),
        ([KEYS[0]], f"labels.csv, line 2: expected a name and a label, got '{KEYS[0]}' alone"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, lines: list[str], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        resolved(labels=csv_file(tmp_path, *lines))


def test_a_table_names_its_columns(tmp_path: Path):
    path = csv_file(tmp_path, header="clip,class")
    message = f"{path}: the first line must name the columns name and label, got ['clip', 'class']"
    with pytest.raises(ValueError, match=re.escape(message)):
        resolved(labels=path)


def test_groups_need_groups():
    without = manifest(groups=(), coarse_of=())
    with pytest.raises(ValueError, match=r"view\.class_map: the classes of these shards have no coarse groups"):
        resolve_view(View(class_map="groups"), without, INDEX)


def test_an_index_takes_new_labels_to_another_process(people_shards: Path):
    before = load_index(people_shards)
    after: Index = pickle.loads(pickle.dumps(before.with_labels(before.label + 1)))
    for row in (0, 40):
        assert after.row(row).label == before.row(row).label + 1 and after.row(row).coarse_label == -1
        assert (after.row(row).key, after.row(row).offset) == (before.row(row).key, before.row(row).offset)
    assert (after.label == before.label + 1).all() and len(pickle.dumps(after)) < len(before) * 4 + 5000
