"""Text from files of others, made safe for a terminal: no control characters, and not without end."""

from __future__ import annotations

import reprlib

_LIMIT = 200  # characters


def printable(text: object, limit: int = _LIMIT) -> str:
    r"""`text` as part of one line: everything that is not printable is escaped, and a long text is cut.

    Letters of all scripts stay. Line ends, escape sequences, characters that turn the direction of writing and lone
    surrogates become `\n`, `\x1b`, `\u202e`, `\udc80`, as in a Python string; so a text cannot move the cursor, fake
    another line, or fail to be encoded.

    Args:
        text: any text, or a value whose `str` is short.
        limit: the most characters of `text`; a longer one ends in `...`.
    """
    whole = str(text)
    shown = "".join(map(_escaped, whole[:limit]))
    return shown if len(whole) <= limit else f"{shown}..."


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which is not cut: line ends and tabs stay."""
    return "".join(map(_escaped_in_lines, text))


def csv_text(text: str) -> str:
    """`text` as a cell of a CSV file: a spreadsheet must not run it as a formula, so that one begins with `'`."""
    plain = printable(text, 1000)
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) else plain


def brief(value: object, limit: int = _LIMIT) -> str:
    """The `repr` of any value that a file contains, for an error: bounded in length and in depth, and printable."""
    try:
        shown = _short.repr(value)
    except (RecursionError, ValueError, MemoryError):  # ValueError: a number of more digits than Python prints
        shown = f"a {type(value).__name__}"
    return printable(shown, limit)


def _escaped(character: str) -> str:
    is_space = character.isspace() and ord(character) > 0x9F and character not in "\u2028\u2029"  # of other scripts
    if character.isprintable() or is_space:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _escaped_in_lines(character: str) -> str:
    return character if character in "\n\t" else _escaped(character)


_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlong = 3, _LIMIT, _LIMIT, 40
