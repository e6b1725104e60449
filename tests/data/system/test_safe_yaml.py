"""YAML of strangers: plain values, each key once, bounded, and errors of one line that say where."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from epam_data.system.safe_yaml import MAX_BYTES, MAX_NODES, load_yaml, load_yaml_file

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]\n" for name in "bcdefghi"
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("a: 1\nb: [x, 2.5, true, null]\n", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        ("base: &base {lr: 0.1}\ntrain:\n  <<: *base\n  lr: 0.2\n", {"base": {"lr": 0.1}, "train": {"lr": 0.2}}),
        ("a: {x: 1}\nb: {x: 2}\n", {"a": {"x": 1}, "b": {"x": 2}}),
        ("1: a\n'1': b\n", {1: "a", "1": "b"}),
    ],
)
def test_plain_values_are_read(text: str, value: Any):
    assert load_yaml(text, "r.yaml") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  lr: 1\n  lr: 2\n", "r.yaml: line 3, column 3: not valid YAML (the key 'lr' stands twice)"),
        ("a: 1\nb: 2\na: 3\n", "r.yaml: line 3, column 1: not valid YAML (the key 'a' stands twice)"),
        ("a: [1, 2\n", "r.yaml: line 2, column 1: not valid YAML ("),
        (
            "a:\n\tb: 1\n",
            "r.yaml: line 2, column 1: not valid YAML (found character '\\t' that cannot",
        ),
        ("a: 1\n---\nb: 2\n", "r.yaml: line 2, column 1: not valid YAML (but found another document)"),
        (
            "a: !!python/object/apply:os.system [x]\n",
            "r.yaml: line 1, column 4: not valid YAML (could not determine",
        ),
        (
            "a: !mine 1\n",
            "r.yaml: line 1, column 4: not valid YAML (could not determine",
        ),
        ("? [a, b]\n: 1\n", "r.yaml: line 1, column 3: not valid YAML (found unhashable key)"),
        ("a: *b\n", "r.yaml: line 1, column 4: not valid YAML (found undefined alias 'b')"),
        ("a: 2024-13-45\n", "r.yaml: month must be in 1..12"),
        ("a: \0\n", "r.yaml: not valid YAML ("),
        ("[" * 30 + "]" * 30, "r.yaml: nested too deeply, at most 20 levels"),
        ("[" * 5000, "r.yaml: nested too deeply, at most 20 levels"),
        ("&a [*a]", "r.yaml: nested too deeply, at most 20 levels"),
        (BOMB, "r.yaml: holds more than 20000 values"),
        (f"[{'1,' * MAX_NODES}]", "r.yaml: holds more than 20000 values"),
        ("{" * 5000, "r.yaml: nested too deeply, at most 20 levels"),
        ("- " * 5000, "r.yaml: nested too deeply, at most 20 levels"),
        (
            f"x: 1\na: 1{':1' * 10_000}",
            "r.yaml: line 2, column 4: not valid YAML (a value of 20001 characters, at most",
        ),
        (f"a: {'9' * 10_001}", "r.yaml: line 1, column 4: not valid YAML (a value of 10001 characters, at most 10000)"),
    ],
    ids=lambda text: text[:20],
)
def test_the_rest_is_refused_in_one_line(text: str, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        load_yaml(text, "r.yaml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("类别: 挥手\n".encode("gbk"), "not UTF-8 at byte 0, it may be GB18030; save it as UTF-8"),
        ("名前: 手\n".encode("utf-16"), "not UTF-8, it seems to be UTF-16; save it as UTF-8"),
        (b"a: 1 \xff\xfe\xff\xff\xff\n", "not UTF-8 at byte 5"),
        (b"#" * (MAX_BYTES + 1), "larger than 1000000 bytes"),
    ],
)
def test_a_file_is_utf_8_of_a_bounded_size(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "r.yaml"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load_yaml_file(path)
    with pytest.raises(ValueError, match=f"^mine: {message}"):
        load_yaml_file(path, "mine")


def test_a_byte_order_mark_is_no_key(tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_bytes("\ufeffa: 挥手\n".encode())
    assert load_yaml_file(path) == {"a": "挥手"}


def test_a_pipe_is_no_recipe(tmp_path: Path):
    os.mkfifo(tmp_path / "r.yaml")  # it would block whoever opens it
    with pytest.raises(OSError, match=r"Not a regular file: '.*/r\.yaml'"):
        load_yaml_file(tmp_path / "r.yaml")


@pytest.mark.parametrize("number", ["0100", "-010", "1:30", "1:30.5", "0_7", "+1:00:00"])
def test_numbers_of_another_base_are_refused(number: str):
    """YAML 1.1 reads 0100 as 64, and 1:30 as 90."""
    message = f"r.yaml: line 2, column 4: not valid YAML ({number} would be read to the base 8 or 60; write"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_yaml(f"a: 1\nb: {number}\n", "r.yaml")
    assert load_yaml(f"b: '{number}'", "r.yaml") == {"b": number}


def test_other_numbers_are_as_they_were():
    read = load_yaml("[0, 10, 0x40, 1_000, 0.5, 00.5, 1e3, '07', a:b]", "r")
    assert read == [0, 10, 64, 1000, 0.5, 0.5, "1e3", "07", "a:b"]
