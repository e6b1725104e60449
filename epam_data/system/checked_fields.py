"""Choices and ranges that the annotations of a dataclass state: `Literal["a", "b"]`, `Annotated[int, Ge(1)]`.

A dataclass that calls `check_fields` in its constructor refuses all other values. pydantic reads the same annotations,
so a recipe gets all errors at once; `--help` shows them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval

from epam_data.system.printable import brief

Share = Annotated[float, Interval(ge=0, le=1)]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
Factor = Annotated[float, Interval(ge=0, lt=math.inf)]
Seconds = Annotated[float, Interval(gt=0, le=1_000_000)]  # more (11 days) overflows timeouts of some systems
Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]
Workers = Annotated[int, Interval(ge=0, le=100_000)]

_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "multiple_of": ("a multiple of", lambda value, number: value % number == 0),
    "ge": (">=", operator.ge),
    "gt": (">", operator.gt),
    "le": ("<=", operator.le),
    "lt": ("<", operator.lt),
}
"""The attributes of `annotated_types` that hold a limit: in words, and the test."""

field_kinds: Callable[[Any], Mapping[str, Any]] = lru_cache(partial(get_type_hints, include_extras=True))
"""The types of a dataclass's fields by name, with their ranges. Kept: it takes longer than checking the values."""


def check_fields(settings: Any, section: str = "") -> None:
    """Refuse values that the annotations of a dataclass's fields do not allow; their types are not checked.

    Args:
        settings: the dataclass.
        section: of a recipe, as `prepare`, for the error.

    Raises:
        ValueError: names the field, what is allowed, and what came.
    """
    for name, kind in field_kinds(type(settings)).items():
        value = getattr(settings, name)
        if not _fits(value, kind):
            raise ValueError(f"{section}{'.' if section else ''}{name} must be {allowed(kind)}, got {brief(value)}")


def allowed(kind: Any) -> str:
    """What a type's choices or range allow, as "one of a, b" or ">= 1"; empty: all values of the type."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is not Annotated:
        return next(filter(None, map(allowed, get_args(kind))), "")  # of a list's items, or of what may be null
    limits = _limits(kind)
    words = ["finite" if end == math.inf else f"{_LIMITS[name][0]} {end}" for name, end in limits.items()]
    if {"ge", "le"} <= limits.keys():
        words = [f"a multiple of {limits['multiple_of']}"] if "multiple_of" in limits else []
        words.append(f"in {limits['ge']}..{limits['le']}")
    return " and ".join(words)


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in parts
    if origin is Annotated:
        return all(_LIMITS[name][1](value, end) for name, end in _limits(kind).items())
    if origin in (tuple, list):
        return all(_fits(item, parts[0]) for item in value)
    return NoneType not in parts or value is None or _fits(value, parts[0])  # a union's rule is that of its first type


def _limits(kind: Any) -> dict[str, Any]:
    ends = [(name, getattr(rule, name, None)) for rule in kind.__metadata__ for name in _LIMITS]
    return {name: end for name, end in ends if end is not None}
