"""JSON -> typed values. Errors name the field, what was expected and what was found."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar, cast, get_args

import msgspec

from epam_data.system.checked_fields import allowed, field_kinds
from epam_data.system.printable import brief, printable

T = TypeVar("T")

_SHOWN_BYTES, _SHOWN_CHARACTERS = 1 << 20, 1000  # of a text that is shown in an error, and of the error


def decode_json(data: bytes | memoryview, kind: type[T], what: str) -> T:
    """A JSON text as a value of a type.

    Args:
        data: the text, UTF-8.
        kind: a dataclass (unknown keys are ignored, fields with a default may be absent) or a type such as
            `dict[str, int]`. Types are strict: no text for a number, no true for 1, no fraction for an integer.
        what: the file or clip, for errors.

    Raises:
        ValueError: not JSON, or a value has the wrong type; names its field.
    """
    try:
        value: T = _decoder(cast(Hashable, kind)).decode(data)
    except msgspec.ValidationError as error:
        raise ValueError(f"{what}: {_in_words(error, data, kind)}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{what}: not JSON ({printable(error)})") from None  # without its traceback of 1,000 levels
    return value


@lru_cache  # a decoder takes longer to create than to run
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _in_words(error: msgspec.ValidationError, data: bytes | memoryview, kind: Any) -> str:
    """From "Expected `int`, got `str` - at `$.sizes[1]`" to "sizes[1]: expected int, got x"."""
    if isinstance(error.__cause__, ValueError):  # from a dataclass that checks itself
        return printable(error.__cause__, _SHOWN_CHARACTERS)
    message, _, path = str(error).replace("`", "").partition(" - at $")
    message = message.replace("Object missing required field", "lacks")
    if message.startswith("Expected "):
        message = message[0].lower() + message.partition(", got ")[0][1:]
        with suppress(ValueError, LookupError, TypeError, RecursionError):  # the rest of the text may not be JSON
            message += f", got {printable(_text(_value_at(json.loads(_small(data)), path)), 80)}"
    if message.startswith("Invalid enum value "):
        with suppress(LookupError, TypeError):  # below a dict or a union, `_kind_at` does not find it
            message = f"expected {allowed(_kind_at(kind, path))}, got {message.removeprefix('Invalid enum value ')}"
    shown = printable(message, _SHOWN_CHARACTERS)
    return f"{printable(path.removeprefix('.'))}: {shown}" if path else shown


def _small(data: bytes | memoryview) -> bytes:
    """The text, if an error is worth parsing it again."""
    if len(data) > _SHOWN_BYTES:
        raise ValueError("too large")
    return bytes(data)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else brief(value)


def _kind_at(kind: Any, path: str) -> Any:
    """The type of a value, such as that at ".shards[3].name"."""
    for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        kind = get_args(kind)[0] if number else field_kinds(kind)[name]
    return kind


def _value_at(values: Any, path: str) -> Any:
    """The value at ".shards[3].name"; for a key written as [...], the object that has it."""
    for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        values = values[int(number)] if number else values[name]
    return values
