"""What a file is that is no skeleton pickle, from its first bytes, and what to do about it."""

from __future__ import annotations

import codecs

from epam_data.system.printable import printable

START_BYTES = 512
"""What `other_kind` looks at."""

_UNPACK = "unpack it first"
_SAVE = "load it, and save the annotations with pickle.dump (docs/raw-data.md has their layout)"
_PAGE = "a web page: the download gave a page, perhaps one that asks for a login"

_KINDS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: run `git lfs pull`"),
    (b"<!doctype html", _PAGE),
    (b"<html", _PAGE),
    (b"<?xml", "an XML document, perhaps the error of a server"),
    (b"{", f"JSON text: {_SAVE}; or it is the error of a server"),
    (b"[", f"JSON text: {_SAVE}"),
    (b"\x1f\x8b", f"packed with gzip: {_UNPACK}"),
    (b"bzh", f"packed with bzip2: {_UNPACK}"),
    (b"\xfd7zxz", f"packed with xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"packed with zstd: {_UNPACK}"),
    (b"7z\xbc\xaf", f"packed with 7-Zip: {_UNPACK}"),
    (b"rar!", f"packed with RAR: {_UNPACK}"),
    (b"\x93numpy", f"a NumPy array (.npy): {_SAVE}"),
    (b"\x89hdf", f"an HDF5 file: {_SAVE}"),
    (b"matlab 5.0", f"a MATLAB file: {_SAVE}"),
    (b"\x80\x02\x8a\nl\xfc\x9cf\xf9 j\xa8p\x19.", f"a file of torch.save: {_SAVE}"),  # the magic number of old ones
)
"""First bytes, in small letters, and what they mean."""


def other_kind(start: bytes) -> str | None:
    """What a file is that could not be read as a pickle, in words; None: unknown.

    Args:
        start: its first `START_BYTES`.
    """
    if not start:
        return "an empty file"
    if start.startswith(b"PK\x03\x04"):
        return _archive(start[30 : 30 + int.from_bytes(start[26:28], "little")])
    plain = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, kind in _KINDS:
        if plain.startswith(mark) or start.lower().startswith(mark):
            return kind
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be cut
    except UnicodeDecodeError:
        return None
    is_text = all(each.isprintable() or each.isspace() for each in text)
    return f"text, which begins with '{printable(text, 40)}'" if is_text else None


def _archive(first_name: bytes) -> str:
    if first_name.endswith(b"data.pkl"):
        return f"a file of torch.save: {_SAVE}"
    if first_name.endswith(b".npy"):
        return f"a NumPy archive (.npz): {_SAVE}"
    return f"a zip file: {_UNPACK}"
