"""Text files beside a view: lists of names, tables of labels."""

from __future__ import annotations

from pathlib import Path

from epam_data.system.file_reads import read_small

MAX_BYTES = 1 << 28


def read_text_file(path: Path) -> str:
    """The text of a file of UTF-8.

    Raises:
        ValueError: it cannot be read, is no regular file, too large, or not UTF-8; names the path.
    """
    try:
        return read_small(path, MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text of UTF-8 (byte {error.start})") from error
