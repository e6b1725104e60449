"""Random damage to bytes and to values of JSON, each a function of its random numbers alone."""

import json
from copy import deepcopy
from random import Random
from typing import Any

NUMBERS = (*(0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF), *(10**9, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63))
"""Numbers at which counts and sizes turn over."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 10**30, -(10**30), 10**400),
    *(1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "../../x", "/etc/passwd", "\ud800", "\0", "\x1b[2J", "=1+1", "a" * 3000, "NaN"),
    *([], {}, [1], [[]], {"a": 1}, [None], ["x"], [0, 0], [-1, 5], [1.5, 2], [10**30, 1]),
)
"""Values of a wrong type, of an absurd size, or that lead elsewhere."""

_PIECES = (bytes(40), b"[" * 200, b"9" * 300, b"\xff\xfe", b"../../", b"\x1b[2J")


def mutated(data: bytes, random: Random, other: bytes = b"") -> bytes:
    """`data` with one to six faults: bits, other bytes, cuts, copies, numbers at the edge, pieces of `other`."""
    result = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        if not result:
            result = bytearray(1)
        at = random.randrange(len(result))
        random.choice(_FAULTS)(result, at, random, other)
    return bytes(result)


def _flip(data: bytearray, at: int, random: Random, other: bytes) -> None:
    data[at] ^= 1 << random.randrange(8)


def _replace(data: bytearray, at: int, random: Random, other: bytes) -> None:
    data[at : at + random.choice((1, 4, 8, 32))] = random.randbytes(random.choice((1, 2, 4, 9)))


def _cut(data: bytearray, at: int, random: Random, other: bytes) -> None:
    del data[at : at + random.choice((1, 2, 8, 100, len(data)))]


def _insert(data: bytearray, at: int, random: Random, other: bytes) -> None:
    data[at:at] = random.choice((*_PIECES, data[at : at + 64] * 3))


def _copy(data: bytearray, at: int, random: Random, other: bytes) -> None:
    source, size = random.randrange(len(data)), random.choice((1, 4, 16, 64, 512))
    data[at : at + size] = data[source : source + size]


def _count(data: bytearray, at: int, random: Random, other: bytes) -> None:
    size = random.choice((1, 2, 4, 8))
    number = random.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = number.to_bytes(size, random.choice(("little", "big")))


def _splice(data: bytearray, at: int, random: Random, other: bytes) -> None:
    data[at:] = other[random.randrange(len(other) + 1) :]


_FAULTS = (_flip, _flip, _flip, _replace, _cut, _insert, _copy, _count, _count, _splice)


def mutated_json(data: bytes, random: Random, other: bytes = b"") -> bytes:
    """A JSON text with one or two values lost, changed or of another kind; sometimes with faults of its bytes."""
    if random.random() < 0.3:
        return mutated(data, random, other)
    root = json.loads(data)
    for _ in range(random.choice((1, 1, 2))):
        places = list(_places(root))
        if places:
            _change(*random.choice(places), random)
    return json.dumps(root, separators=(",", ":"), sort_keys=True).encode()


def _places(value: Any) -> Any:
    """(container, key) of every value, of long lists only the first ones."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 4)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change(container: Any, key: Any, random: Random) -> None:
    old, how = container[key], random.randrange(6)
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(old, list):
        old.append(deepcopy(random.choice(ODD)))
    elif how == 2 and type(old) in (int, float):
        container[key] = old * random.choice((-1, 2, 1000, 10**6)) + random.choice((0, 1, -1))
    else:
        container[key] = deepcopy(random.choice(ODD))
