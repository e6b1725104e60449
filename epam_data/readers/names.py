"""Names of recordings and the shard keys made from them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from epam_data.schema import MAX_KEY_LENGTH, check_key
from epam_data.system.printable import printable

MAX_NAME_BYTES = 1024
"""Longest name in UTF-8; a longer one is no name of a file."""

_NOT_IN_NAMES = ("Cc", "Zl", "Zp")  # control characters, and the separators of lines and paragraphs


def check_name(name: object) -> str:
    """A record's `frame_dir`, if it is usable as a name.

    Raises:
        ValueError: it is not text, empty, too long, or holds characters that no file name has.
    """
    if not isinstance(name, str):
        raise ValueError(f"frame_dir must be text, got {type(name).__name__}")
    if not name or len(name) > MAX_NAME_BYTES:
        raise ValueError(f"{name[:40]!r}: frame_dir must have 1 to {MAX_NAME_BYTES} characters, got {len(name)}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name[:40]!a}: frame_dir holds half of a character (a lone surrogate)") from None
    if not name.isprintable() and any(unicodedata.category(each) in _NOT_IN_NAMES for each in name):
        raise ValueError(f"{name[:40]!a}: frame_dir holds a control character")
    return str(name)


def key_from_name(name: str) -> str:
    """The shard key of a recording whose key no other recording has: the last part of its name.

    `-` stands for each ASCII character outside `[A-Za-z0-9_-]`, and `_` for those at the beginning: a key must not look
    like an option of a command. A part with other letters is written in Punycode (RFC 3492, without `xn--`), such as
    `kpuvs` for 挥手, and then has no two `-` in a row.

    Raises:
        ValueError: the name leaves its folder, is empty, or gives a key over `MAX_KEY_LENGTH` characters.
    """
    key = _plain(_parts(name)[-1])
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(
            f"{printable(name, 40)}: its key has {len(key)} characters, at most {MAX_KEY_LENGTH}; give the clip a "
            "shorter frame_dir, and its video the same name"
        )
    return check_key(key)


def unique_keys(keys: Mapping[str, str], others: Iterable[str] = ()) -> dict[str, str]:
    """The keys of all recordings of a data set, each its own; a pure function of the set of names.

    A recording has the key of `key_from_name` if it alone has it. Of several, each has a key made from its whole name:
    `wave-001` and `bow-001` for `wave/001` and `bow/001`; if that is not its own or too long, with a hash of the name;
    and if even that is the key of another, a longer hash.

    Args:
        keys: the key that each recording has if no other has it, by its name.
        others: names of recordings that are left out. They count, so that no key changes when one of them is mended.

    Returns:
        The key of each recording, by its name.
    """
    absent = {name: possible[0] for name in others if name not in keys and (possible := possible_keys(name))}
    found = {**keys, **absent}
    for longer in (_path_key, _hashed_key):
        counts = Counter(found.values())
        found = {name: key if counts[key] == 1 else longer(name) for name, key in found.items()}
    while len(set(found.values())) < len(found):  # a name that ends in the hash of another, on purpose
        counts = Counter(found.values())
        found = {name: key if counts[key] == 1 else _long_key(name) for name, key in found.items()}
    return {name: found[name] for name in keys}


def possible_keys(name: str) -> tuple[str, ...]:
    """The keys that `unique_keys` may give to a recording, the usual one first; empty if it cannot have one."""
    try:
        return key_from_name(name), _path_key(name), _hashed_key(name), _long_key(name)
    except ValueError:
        return ()


def _parts(name: str) -> list[str]:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts:
        raise ValueError(f"{name!r}: a name must stay inside the video folder, got a path that leaves it")
    return parts


def _plain(part: str) -> str:
    if part.isascii():
        key = re.sub(r"[^A-Za-z0-9_-]", "-", part)
    else:
        key = re.sub(r"[^A-Za-z0-9_]+", "-", part.encode("punycode").decode("ascii"))
    return re.sub("^-+", "_", key)


def _path_key(name: str) -> str:
    key = "-".join(_plain(part) for part in _parts(name) if part)
    return key if len(key) <= MAX_KEY_LENGTH else _hashed_key(name)


def _hashed_key(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{key_from_name(name)[: MAX_KEY_LENGTH - 13]}-{digest}"


def _long_key(name: str) -> str:
    """With the whole hash: a second name of the same 12 digits can be found, one of the same 64 cannot."""
    return f"{key_from_name(name)[: MAX_KEY_LENGTH - 65]}-{hashlib.sha256(name.encode()).hexdigest()}"
