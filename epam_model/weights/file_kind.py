"""What a file is that is no checkpoint, from its first bytes; and whether an archive is one that torch wrote."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

_MAX_RECORDS = 200_000
_MAX_PICKLE_BYTES = 256 << 20  # names, shapes and settings; the numbers are in records of their own

_KINDS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: run `git lfs pull`"),
    (b"<!doctype html", "a web page: the download gave a page, perhaps one that asks for a login"),
    (b"<html", "a web page: the download gave a page, perhaps one that asks for a login"),
    (b"<?xml", "an XML document, perhaps the error of a server"),
    (b"{", "JSON text, perhaps the error of a server"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"\x1f\x8b", "packed with gzip: unpack it first"),
    (b"BZh", "packed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "packed with xz: unpack it first"),
    (b"7z\xbc\xaf", "packed with 7-Zip: unpack it first"),
    (b"Rar!", "packed with RAR: unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"\x08\x07\x12\x07pytorch", "an ONNX graph"),
)


def not_a_file(path: Path) -> str | None:
    """What a path is instead of a file, in words; it is not opened, since a pipe would keep us waiting."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return None
    return "a folder: name a checkpoint in it" if stat.S_ISDIR(mode) else "a pipe or a device, expected a file"


def other_kind(path: Path) -> str | None:
    """What a file is instead of a checkpoint, in words; None: it may be one."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "empty"
    plain = start.lstrip().lower()
    for mark, kind in _KINDS:
        if start.startswith(mark) or plain.startswith(mark):
            return kind
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return f"text, which begins with {start[:40].decode('ascii')!r}"
    return None


def check_archive(path: Path) -> None:
    """Refuse archives that `torch.save` does not write, before anything of them is unpacked.

    Raises:
        ValueError: records are packed (a small file could need any memory), stand twice, or there is no checkpoint.
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = {record.filename for record in records}
        if len(records) > _MAX_RECORDS:
            raise ValueError(f"{path}: {len(records)} records in an archive, at most {_MAX_RECORDS}")
        if len(names) < len(records):
            raise ValueError(f"{path}: an archive in which a record stands twice, which torch.save does not write")
        packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise ValueError(
                f"{path}: a zip file with packed records, which torch.save does not write; unpack it first"
            )
        pickles = [record for record in records if record.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"{path}: a zip file without a checkpoint in it (no data.pkl)")
        if pickles[0].file_size > _MAX_PICKLE_BYTES:
            raise ValueError(f"{path}: data.pkl has {pickles[0].file_size} bytes, at most {_MAX_PICKLE_BYTES}")
        if (name := archive.testzip()) is not None:  # torch writes CRC-32, but does not check it
            raise zipfile.BadZipFile(f"{name} is damaged")
