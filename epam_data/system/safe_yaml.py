"""Read YAML of strangers: plain values only, each key once, of a bounded size also where aliases repeat it."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import Any

import yaml

from epam_data.system.file_reads import open_regular

MAX_BYTES = 1_000_000
"""Largest file."""

MAX_NODES, MAX_DEPTH = 20_000, 20
"""Most values, counted as often as aliases repeat them, and most levels of nesting."""

MAX_CHARACTERS = 10_000
"""Longest value: a number of more digits could take minutes to read."""

_OTHER_ENCODINGS = ("gb18030", "shift_jis", "euc_kr", "cp1251", "cp1252")
"""Guesses, in the order in which they are tried: those that seldom fit by chance come first."""


def load_yaml_file(path: Path, what: str = "") -> Any:
    """The content of a YAML file.

    Args:
        path: the file.
        what: its name in messages; empty: the path.

    Raises:
        ValueError: it is too large, not UTF-8, no YAML, holds a key twice or a tag, or is nested too deeply; names the
            line where that is known.
        OSError: it cannot be read, or is not a regular file.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(MAX_BYTES + 1)
    return load_yaml(_decode(data, what or str(path)), what or str(path))


def load_yaml(text: str, what: str) -> Any:
    """The content of a YAML text; raises as `load_yaml_file` does."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node, what)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise ValueError(f"{what}:{where} not valid YAML ({error.problem or error.context})") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{what}: not valid YAML ({str(error).splitlines()[0]})") from error
    except RecursionError:
        raise ValueError(f"{what}: nested too deeply, at most {MAX_DEPTH} levels") from None
    except (ValueError, OverflowError) as error:  # a number or a date that does not exist
        raise ValueError(str(error) if str(error).startswith(what) else f"{what}: {error}") from error


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OTHER_BASE = re.compile(r"[-+]?0[0-9_]+|.*:.*")  # 0100 is 64 in YAML 1.1, and 1:30 is 90


class _Loader(yaml.SafeLoader):
    """A `SafeLoader` with limits that refuses a key that stands twice: the later value would win in silence."""

    num_nodes = depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Stop at the first value beyond a limit, before the rest is read."""
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES:
            raise ValueError(f"holds more than {MAX_NODES} values")
        if self.depth > MAX_DEPTH:
            raise ValueError(f"nested too deeply, at most {MAX_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_CHARACTERS:
            problem = f"a value of {len(node.value)} characters, at most {MAX_CHARACTERS}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and _OTHER_BASE.fullmatch(node.value):
            problem = f"{node.value[:40]} would be read to the base 8 or 60; write it in decimal, or in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value[:40]!r} stands twice", problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _check_size(root: yaml.Node, what: str) -> None:
    """Count the values as often as they are repeated; a value that holds itself has no end."""
    counts: dict[int, int] = {}

    def count(node: yaml.Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise ValueError(f"{what}: nested too deeply, at most {MAX_DEPTH} levels")
        if id(node) not in counts:
            inner = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
            counts[id(node)] = 1 + sum(count(part, depth + 1) for part in parts)
        if counts[id(node)] > MAX_NODES:
            raise ValueError(f"{what}: holds more than {MAX_NODES} values")
        return counts[id(node)]

    count(root, 0)


def _decode(data: bytes, what: str) -> str:
    if len(data) > MAX_BYTES:
        raise ValueError(f"{what}: larger than {MAX_BYTES} bytes")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{what}: not UTF-8, it seems to be UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fitting = next((name for name in _OTHER_ENCODINGS if _fits(data, name)), None)
        guess = f", it may be {fitting.upper()}" if fitting else ""
        raise ValueError(f"{what}: not UTF-8 at byte {error.start}{guess}; save it as UTF-8") from None


def _fits(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
