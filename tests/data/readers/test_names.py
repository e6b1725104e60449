"""Keys of recordings: valid, readable, each its own, and the same in every order."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epam_data.readers.names import check_name, key_from_name, possible_keys, unique_keys
from epam_data.schema import MAX_KEY_LENGTH, check_key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("S001C001P001R001A001", "S001C001P001R001A001"),
        ("train/0003_01_0001", "0003_01_0001"),
        ("a/b/c d.e", "c-d-e"),
        ("a\\b", "b"),
        ("a..b", "a--b"),
        ("-a", "_a"),
        ("--help", "_help"),
        ("a/(1) b", "_1--b"),
        ("-", "_"),
        ("k" * MAX_KEY_LENGTH, "k" * MAX_KEY_LENGTH),
    ],
)
def test_the_key_is_the_last_part_of_the_name(name: str, key: str) -> None:
    assert key_from_name(name) == key


@given(st.text(max_size=100))
def test_a_name_gives_a_valid_key_or_an_error(name: str) -> None:
    try:
        key = key_from_name(name)
    except ValueError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key)
    assert check_key(key) == key
    assert key_from_name(key) == key


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../b", "..", "a/..", "\\x", "..\\x", "a\\..\\b"])
def test_a_name_that_leaves_the_folder_is_refused(name: str) -> None:
    message = f"{name!r}: a name must stay inside the video folder, got a path that leaves it"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        key_from_name(name)


def test_a_long_name_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        ValueError, match=r"^k{40}\.\.\.: its key has 81 characters, at most 80; give the clip a shorter"
    ):
        key_from_name("k" * 81)


def test_no_key_looks_like_an_option() -> None:
    keys = keys_of("-a/1", "(a/1", "-1", "x/-1")
    assert len(set(keys.values())) == 4 and not any(key.startswith("-") for key in keys.values())


def test_an_empty_name_is_refused() -> None:
    for name in ("", "folder/"):
        with pytest.raises(ValueError, match="a key must be 1 to 80 characters"):
            key_from_name(name)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("挥手", "kpuvs"),
        ("挥手_01", "_01-f05fq1b"),
        ("a 挥-", "a-eq6f"),
        ("ünïcode", "ncode-cta3g"),
        ("wave/挥手", "kpuvs"),
    ],
)
def test_other_letters_are_written_in_punycode(name: str, key: str) -> None:
    assert key_from_name(name) == key


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30))
def test_a_key_of_other_letters_has_no_two_dashes(name: str) -> None:
    if not name.isascii() and possible_keys(name):
        assert "--" not in key_from_name(name.replace("/", ""))


def keys_of(*names: str, others: tuple[str, ...] = ()) -> dict[str, str]:
    return unique_keys({name: key_from_name(name) for name in names}, others)


def test_names_of_one_key_get_keys_from_their_folders() -> None:
    assert keys_of("wave/001", "bow/001", "bow/002") == {
        "wave/001": "wave-001",
        "bow/001": "bow-001",
        "bow/002": "002",
    }


def test_keys_that_still_meet_get_a_hash() -> None:
    keys = keys_of("a/b/1", "a-b/1", "a-b-1", "x/a-b-1")
    assert len(set(keys.values())) == 4 and keys["a-b-1"].startswith("a-b-1-")
    assert re.fullmatch(r"1-[0-9a-f]{12}", keys["a/b/1"])


def test_a_name_that_ends_in_the_hash_of_another_has_a_key_of_its_own() -> None:
    names = ["a/1", "a-1", "b/1"]
    for _ in range(3):
        keys = keys_of(*names)
        assert len(set(keys.values())) == len(names) and all(keys[name] in possible_keys(name) for name in names)
        assert all(check_key(key) == key for key in keys.values())
        assert keys_of(*reversed(names)) == keys
        names += [key for key in keys.values() if key not in names]


def test_a_long_path_gets_a_hash() -> None:
    keys = keys_of(f"{'k' * 70}/{'f' * 70}", f"{'x' * 70}/{'f' * 70}")
    assert all(len(check_key(key)) <= MAX_KEY_LENGTH for key in keys.values()) and len(set(keys.values())) == 2


def test_recordings_that_are_left_out_count() -> None:
    """If the video of one is found later, the other keeps its key."""
    assert keys_of("bow/001", others=("wave/001",)) == {"bow/001": "bow-001"}
    assert keys_of("bow/001", others=("../wave", "set.pkl: annotation 3")) == {"bow/001": "001"}


@given(st.lists(st.from_regex(r"[ab]{1,2}/[ab-]{1,2}", fullmatch=True), unique=True, max_size=12), st.randoms())
def test_keys_are_unique_and_the_same_in_every_order(names: list[str], rng: random.Random) -> None:
    keys = keys_of(*names)
    assert len(set(keys.values())) == len(names)
    assert all(keys[name] in possible_keys(name) for name in names)
    shuffled = names[:]
    rng.shuffle(shuffled)
    assert keys_of(*shuffled) == keys


@pytest.mark.parametrize("name", ["a", "train/0003 01", "挥手", "x" * 1024, "~!", "a\u3000\u200db"])
def test_text_is_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (5, "frame_dir must be text, got int"),
        ("", "'': frame_dir must have 1 to 1024 characters, got 0"),
        ("x" * 1025, f"'{'x' * 40}': frame_dir must have 1 to 1024 characters, got 1025"),
        ("\udc80", "'\\udc80': frame_dir holds half of a character (a lone surrogate)"),
        ("a\x1f", "'a\\x1f': frame_dir holds a control character"),
        ("a\x7f", "'a\\x7f': frame_dir holds a control character"),
        ("\x9b2Ja", "'\\x9b2Ja': frame_dir holds a control character"),
        ("a\x85", "'a\\x85': frame_dir holds a control character"),
        ("a\u2028b", "'a\\u2028b': frame_dir holds a control character"),
    ],
)
def test_what_is_no_name_is_refused(name: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_name(name)


def test_a_key_of_the_whole_name_may_have_80_characters() -> None:
    names = [f"{'k' * 40}/{'f' * 39}", f"{'x' * 40}/{'f' * 39}"]
    assert list(keys_of(*names).values()) == [name.replace("/", "-") for name in names]
