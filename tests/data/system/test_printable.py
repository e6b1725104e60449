"""Texts of strangers on a terminal: nothing moves the cursor, fakes a line or has no end; letters stay letters."""

import pytest

from epam_data.system.printable import brief, csv_text, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("drink water", "drink water"),
        ("喝水　é ß प\xa0x", "喝水　é ß प\xa0x"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\nok: no problem\r\t", r"a\nok: no problem\r\t"),
        ("\x9b31m\x85\u2028\u2029", r"\x9b31m\x85\u2028\u2029"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("lone \ud800", r"lone \ud800"),
        (3, "3"),
    ],
)
def test_what_is_not_printable_is_escaped_and_letters_stay(text: object, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode() and printable(printable(text)) == shown


def test_a_long_text_is_cut() -> None:
    assert printable("x" * 10) == "x" * 10
    assert printable("x" * 11, limit=10) == "x" * 10 + "..."
    assert len(printable("\x1b" * 10**6)) < 1000


def test_lines_stay_lines() -> None:
    assert printable_lines("a\n\tb\x1b\r\n") == "a\n\tb\\x1b\\r\n"
    assert printable_lines("x" * 1000) == "x" * 1000


def test_any_value_is_shown_briefly() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    for value in (nested, {"a": nested}, "x" * 10**6, ["x" * 10**6] * 1000, 10**5000, b"\xff" * 10**6):
        assert 0 < len(brief(value)) < 300
    assert (brief("2"), brief(2), brief(None)) == ("'2'", "2", "None")
    assert brief({"a": "\x1b"}) == r"{'a': '\x1b'}"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("wave", "wave"),
        ("", ""),
        ("挥手", "挥手"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "\\t=1"),
        ("a\nb", "a\\nb"),
    ],
)
def test_a_cell_is_no_formula(text: str, cell: str) -> None:
    assert csv_text(text) == cell
