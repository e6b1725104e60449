"""Typed JSON: strict types, unknown keys ignored, and errors that name place, expected and received."""

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import pytest

from epam_data.system.typed_json import decode_json


@dataclass(frozen=True, kw_only=True)
class Part:
    size: Annotated[int, msgspec.Meta(ge=1)] = 3
    colour: Literal["red", "blue"] = "red"

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("a part of 13 is refused")


@dataclass(frozen=True, kw_only=True)
class Whole:
    name: str
    share: float
    sizes: tuple[int, int] = (1, 2)
    parts: tuple[Part, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    colours: dict[str, Literal["red"]] = field(default_factory=dict)
    by_name: dict[str, Part] = field(default_factory=dict)


GOOD = {"name": "a", "share": 1}


def load(values: object) -> Whole:
    return decode_json(json.dumps(values).encode(), Whole, "f.json")


def test_defaults_and_unknown_keys() -> None:
    assert load({**GOOD, "new": [1]}) == Whole(name="a", share=1.0)
    assert load({**GOOD, "parts": [{}, {"size": 4}]}).parts == (Part(), Part(size=4))
    assert decode_json(memoryview(b'{"a": [1, "x"]}'), dict[str, tuple[int, str]], "f") == {"a": (1, "x")}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a"}, "lacks share"),
        ({**GOOD, "name": None}, "name: expected str, got None"),
        ({**GOOD, "share": True}, "share: expected float, got True"),
        ({**GOOD, "share": "x" * 100}, f"share: expected float, got {'x' * 80}..."),
        ({**GOOD, "sizes": [1, 2.5]}, "sizes[1]: expected int, got 2.5"),
        ({**GOOD, "sizes": [1]}, "sizes: expected array of length 2, got [1]"),
        ({**GOOD, "parts": [{}, {"size": 0}]}, "parts[1].size: expected int >= 1, got 0"),
        ({**GOOD, "parts": [{"size": 13}]}, "a part of 13 is refused"),
        ({**GOOD, "parts": [{}, {"colour": "grey"}]}, "parts[1].colour: expected one of red, blue, got 'grey'"),
        ({**GOOD, "colours": {"b": "grey"}}, "colours[...]: expected one of red, got 'grey'"),
        ({**GOOD, "by_name": {"b": {"colour": "grey"}}}, "by_name[...].colour: Invalid enum value 'grey'"),
        ({**GOOD, "counts": {"b": "x"}}, "counts[...]: expected int, got {'b': 'x'}"),
        ([], "expected object, got []"),
    ],
)
def test_what_does_not_fit_is_named(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^f\\.json: {re.escape(message)}$"):
        load(values)


def test_text_that_is_not_json_is_refused() -> None:
    for text in (b"", b"{", b"\xff", b'{"name": "\xff"}', b'{"share": NaN}', b'{"share": Infinity}', b"[" * 100_000):
        with pytest.raises(ValueError, match=r"^f\.json: (not JSON \(|expected object$)"):
            decode_json(text, Whole, "f.json")
    with pytest.raises(ValueError, match=r"^f\.json: share: Number out of range$"):
        decode_json(b'{"name": "a", "share": 1e999}', Whole, "f.json")


def test_a_damaged_end_does_not_hide_the_field() -> None:
    with pytest.raises(ValueError, match=r"^f\.json: name: expected str$"):
        decode_json(b'{"name": 3, "share":', Whole, "f.json")
