"""Reads at random places: complete or an error, and no memory for bytes that are not there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from epam_data.system.file_reads import IrregularFileError, open_regular, read_exactly


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_bytes(b"0123456789")
    descriptor = open_regular(tmp_path / "a")
    yield descriptor
    os.close(descriptor)


def test_what_is_there_is_read(file: int) -> None:
    assert read_exactly(file, 2, 3, what="a") == b"234" and read_exactly(file, 10, 0, what="a") == b""


@pytest.mark.parametrize(
    ("offset", "num_bytes"), [(8, 3), (20, 1), (0, 2**62), (2**62, 2**62), (2**70, 1), (-1, 1), (0, -1), (-(2**70), 5)]
)
def test_what_is_not_there_is_refused(file: int, offset: int, num_bytes: int) -> None:
    with pytest.raises(ValueError, match=rf"^a: cut short, expected {num_bytes} bytes at {offset}, got \d+$"):
        read_exactly(file, offset, num_bytes, what="a")


def test_only_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "Not a regular file"),
        (Path("/dev/null"), "Not a regular file"),
    ):
        with pytest.raises(IrregularFileError, match=reason):
            open_regular(path)
    with pytest.raises(IrregularFileError, match="the index"):
        open_regular(tmp_path, "the index")
