"""Notes about shards not to fetch: of this user, recent, short and printable, or they count for nothing."""

import os
from pathlib import Path

import pytest

from epam_data.stream.loading.refusals import check_refusal, write_refusal


def test_a_note_is_read_for_a_while(tmp_path: Path) -> None:
    note = tmp_path / "a.refused"
    check_refusal(note)
    write_refusal(note, "its SHA-256 is another")
    with pytest.raises(ValueError, match=r"^its SHA-256 is another$"):
        check_refusal(note)
    os.utime(note, (0, 0))
    check_refusal(note)
    assert not note.exists()


def test_a_planted_text_cannot_move_the_cursor_and_has_an_end(tmp_path: Path) -> None:
    note = tmp_path / "a.refused"
    note.write_bytes(b"\x1b[2J\xff" + b"x" * 10**6)
    note.chmod(0o600)
    with pytest.raises(ValueError, match=r"^\\x1b\[2J") as caught:
        check_refusal(note)
    assert len(str(caught.value)) < 1100


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    note, victim = tmp_path / "a.refused", tmp_path / "victim"
    victim.write_text("mine")
    note.symlink_to(victim)
    check_refusal(note)
    write_refusal(note, "new")
    assert victim.read_text() == "mine" and note.read_text() == "new" and not note.is_symlink()


def test_a_note_that_others_may_write_counts_for_nothing(tmp_path: Path) -> None:
    note = tmp_path / "a.refused"
    note.write_text("no")
    note.chmod(0o666)
    check_refusal(note)
