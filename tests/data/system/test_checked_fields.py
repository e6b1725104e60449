"""What an annotation does not allow is refused by the constructor, by pydantic, and is said in the same words."""

import re
import subprocess
import sys
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, MultipleOf
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from epam_data.system.checked_fields import BelowOne, Factor, Share, allowed, check_fields, field_kinds

INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True, kw_only=True)
class Oven:
    fuel: Literal["gas", "wood"] = "gas"
    shelves: Annotated[int, Ge(1)] = 2
    heat: Annotated[float, Interval(gt=0, lt=INF)] = 180.0
    hours: Annotated[float, Gt(0)] = 1.0
    level: Annotated[int, Interval(ge=1, le=10)] = 5
    eggs: Annotated[int, MultipleOf(6), Ge(6)] = 6
    rolls: Annotated[int, MultipleOf(6), Interval(ge=6, le=60)] = 6
    open: Share = 0.0
    decay: BelowOne = 0.5
    weights: tuple[Factor, ...] = ()
    fan: Literal["slow", "fast"] | None = None
    limit: Annotated[int, Ge(1)] | None = None
    trays: list[Annotated[int, Ge(1)]] | None = None
    name: str = ""
    size: int | str | None = 0

    def __post_init__(self) -> None:
        check_fields(self, "oven")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fuel", "coal", "must be one of gas, wood, got 'coal'"),
        ("fuel", None, "must be one of gas, wood, got None"),
        ("shelves", 0, "must be >= 1, got 0"),
        ("heat", 0.0, "must be > 0 and finite, got 0.0"),
        ("heat", INF, "must be > 0 and finite, got inf"),
        ("heat", NAN, "must be > 0 and finite, got nan"),
        ("hours", NAN, "must be > 0, got nan"),
        ("level", 11, "must be in 1..10, got 11"),
        ("level", 0, "must be in 1..10, got 0"),
        ("eggs", 7, "must be a multiple of 6 and >= 6, got 7"),
        ("eggs", 0, "must be a multiple of 6 and >= 6, got 0"),
        ("rolls", 66, "must be a multiple of 6 and in 6..60, got 66"),
        ("open", NAN, "must be in 0..1, got nan"),
        ("decay", 1.0, "must be >= 0 and < 1, got 1.0"),
        ("weights", (1.0, -2.0), "must be >= 0 and finite, got (1.0, -2.0)"),
        ("fan", "off", "must be one of slow, fast, got 'off'"),
        ("limit", 0, "must be >= 1, got 0"),
        ("trays", [2, 0], "must be >= 1, got [2, 0]"),
    ],
)
def test_what_is_not_allowed_is_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'oven.{name} {message}')}$"):
        Oven(**{name: value})


def test_a_number_without_end_is_shown_briefly() -> None:
    with pytest.raises(ValueError, match=r"^oven\.level must be in 1\.\.10, got a int$"):
        Oven(level=10**5000)  # more digits than Python prints


def test_without_a_section_the_field_stands_alone() -> None:
    with pytest.raises(ValueError, match=r"^shelves must be >= 1, got 0$"):
        check_fields(type("Bare", (), {"__annotations__": {"shelves": Annotated[int, Ge(1)]}, "shelves": 0})())


def test_all_that_is_allowed_passes() -> None:
    everything = {
        "fuel": "wood",
        "shelves": 1,
        "heat": 1e-9,
        "hours": INF,
        "level": 10,
        "eggs": 12,
        "rolls": 60,
        "open": 1,
        "decay": 0,
        "weights": (0, 1e300),
        "fan": "slow",
        "limit": 1,
        "trays": [1],
        "name": "x",
        "size": "any",
    }
    assert everything.keys() == {field.name for field in fields(Oven)}
    for values in ({}, {"fan": None, "limit": None, "trays": None, "size": None}, everything):
        assert Oven(**values)


NUMBERS = st.one_of(st.integers(-3, 13), st.floats(), st.sampled_from([0, 1, 6, INF, -INF, NAN]))


@given(st.sampled_from(["heat", "hours", "open", "decay"]), NUMBERS)
def test_pydantic_and_the_constructor_agree(name: str, value: float) -> None:
    def refused(make: Any) -> bool:
        try:
            make()
        except ValueError:  # a ValidationError is one, too
            return True
        return False

    assert refused(lambda: Oven(**{name: value})) == refused(lambda: TypeAdapter(Oven).validate_python({name: value}))


def test_pydantic_reads_the_annotations_itself() -> None:
    wrong = {"fuel": "coal", "shelves": 0, "eggs": 7, "limit": 0, "weights": [-1]}
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Oven).validate_python(wrong)
    assert {error["loc"][0] for error in caught.value.errors()} == set(wrong)  # all at once


def test_fields_without_a_rule_allow_everything() -> None:
    kinds = field_kinds(Oven)
    assert [name for name, kind in kinds.items() if not allowed(kind)] == ["name", "size"]


def test_it_costs_no_large_import() -> None:
    code = "import sys, epam_data.system.checked_fields; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "annotated_types" in modules
    assert not {"pydantic", "numpy", "msgspec"} & {name.partition(".")[0] for name in modules}
