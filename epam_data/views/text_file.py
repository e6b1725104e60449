"""Text files beside a view: lists of names, tables of labels."""

from __future__ import annotations

import os
from pathlib import Path

from epam_data.system.file_reads import open_regular

MAX_BYTES = 1 << 28


def read_text_file(path: Path) -> str:
    """The text of a file of UTF-8.

    Raises:
        ValueError: it cannot be read, is no regular file, too large, or not UTF-8; names the path.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES} bytes, the most that is read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text of UTF-8 (byte {error.start})") from error
