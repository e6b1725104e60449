import json
import re
from pathlib import Path
from typing import Any

import pytest

from epam_data.views.view import Condition, View, load_view


def written(tmp_path: Path, text: str) -> str:
    (tmp_path / "view.yaml").write_text(text)
    return str(tmp_path / "view.yaml")


def test_a_name_is_a_protocol_and_nothing_the_splits_as_built():
    assert load_view("xview") == View(protocol="xview") and load_view("") == View()


def test_a_file_has_the_keys_of_a_view(tmp_path: Path):
    text = """
        classes: [walk, sit down]
        where:
        - {fact: camera, any_of: [1, 2]}
        - {fact: num_frames, least: 32, most: 300, none_of: [77]}
        folds: 5 by person
        fraction: 0.25
        seed: 7
    """
    assert load_view(written(tmp_path, text)) == View(
        classes=("walk", "sit down"),
        where=(
            Condition(fact="camera", any_of=(1, 2)),
            Condition(fact="num_frames", least=32, most=300, none_of=(77,)),
        ),
        folds="5 by person",
        fraction=0.25,
        seed=7,
    )


@pytest.mark.parametrize("classes", ["groups", {"walk": "move", "run": "move", "other": None}])
def test_a_class_map_is_by_name_or_by_group(tmp_path: Path, classes: Any):
    view = load_view(written(tmp_path, json.dumps({"class_map": classes, "labels": "sub/labels.csv"})))
    assert view == View(class_map=classes, labels=str(tmp_path / "sub" / "labels.csv")) and view.changes_labels


def test_lists_of_names_are_read_beside_the_view(tmp_path: Path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text("# mine\nb-1\n\n  a-2 \n")
    view = load_view(written(tmp_path, "names: {train: lists/train.txt, val: [c-3]}"))
    assert view.names == {"train": ("b-1", "a-2"), "val": ("c-3",)}


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({}, (1, "")),
        ({"protocol": "xsub"}, (1, "")),
        ({"folds": "5 by person"}, (5, "person")),
        ({"leave_one_out": "camera"}, (0, "camera")),
    ],
)
def test_the_rule_of_folds(values: dict, rule: tuple[int, str]):
    assert View(**values).fold_rule == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold: 5 by person", "'fold' is no key of a view; did you mean folds?"),
        ("xyz: 1", "'xyz' is no key of a view; the keys are labels, class_map, class_names, protocol, names, "),
        ("[1]", "a view must be keys and values, got [1]"),
        ("folds: five", "view.folds must be like '5 by person', with 2 folds or more, got 'five'"),
        ("folds: 1 by person", "view.folds must be like '5 by person', with 2 folds or more, got '1 by person'"),
        ("fraction: 0", "view.fraction must be > 0 and <= 1, got 0"),
        ("fraction: 1.5", "view.fraction must be > 0 and <= 1, got 1.5"),
        ("seed: -1", "view.seed must be >= 0, got -1"),
        ("names: {dev: []}", "view.names must have splits of train, val, test, got 'dev'"),
        ("names: {train: 3}", "names[...]: expected str | array, got {'train': 3}"),
        ("where: [{camera: 1}]", "where[0]: lacks fact"),
        ("protocol: xsub\nfolds: 2 by person", "view: protocol and folds each decide the splits, give one of them"),
        ("a: {{", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, message: str):
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=f"^({re.escape(path)}:? )?.*{re.escape(message)}"):
        load_view(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"\xff\xfe", "not a text of UTF-8 (byte 0)"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/a.txt: {message}")):
        load_view(written(tmp_path, "names: {val: a.txt}"))


def test_a_view_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no\.yaml: cannot be read \(No such file or directory\)"):
        load_view(str(tmp_path / "no.yaml"))
