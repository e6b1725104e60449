"""`manifest.json` and `index.h5`: what a directory of shards holds, and where each sample lies."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, is_dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import h5py
import numpy as np
from numpy.typing import NDArray

from epam_data.codec import MEMBERS
from epam_data.remote import RemoteFolder, is_url
from epam_data.schema import MAX_KEY_LENGTH, SCHEMA_VERSION
from epam_data.shard import IndexRow, ShardSettings, ShardSummary

MANIFEST, INDEX, PROBLEMS = "manifest.json", "index.h5", "problems.jsonl"

READ_ATTEMPTS = 8
"""Of reading shards by URL: a training run outlives a minute without network."""


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard, as the manifest lists it."""

    name: str
    split: str
    num_samples: int
    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, shard: ShardSummary) -> ShardEntry:
        """The entry of a finished shard."""
        return cls(
            name=shard.name,
            split=shard.split,
            num_samples=len(shard.rows),
            num_bytes=shard.num_bytes,
            sha256=shard.sha256,
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.json`: what the shards are and what they were made from."""

    dataset: str
    protocol: str | None
    skeleton: str  # joint layout
    joints: tuple[str, ...]
    taxonomy: str
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    coarse_of: tuple[int, ...]  # coarse label of each class
    prepare: dict[str, Any]  # the settings of the build
    shard: dict[str, Any]
    sources: dict[str, str]  # skeleton pickles: name -> sha256
    versions: dict[str, str]  # tools that the bytes depend on
    problems: dict[str, int]  # number of clips by action, see `schema.Problem`
    index_sha256: str
    shards: tuple[ShardEntry, ...]

    def to_json(self) -> bytes:
        """The file's bytes; equal manifests give equal bytes."""
        return (json.dumps({"schema": SCHEMA_VERSION, **asdict(self)}, indent=1) + "\n").encode()


def load_manifest(root: Path | str) -> Manifest:
    """Read `manifest.json` of a shard directory, or of shards by URL (s3://bucket/ntu60).

    Raises:
        ValueError: there is none (the build is not finished, or this is no shard directory), it is no manifest, or
            its schema is newer than this code.
    """
    data = _read_file(root, MANIFEST)
    if data is None:
        raise ValueError(f"{root}: holds no {MANIFEST}; no shard directory, or its build is not finished")
    try:
        values = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{root}/{MANIFEST}: no JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{root}/{MANIFEST}: no JSON object ({type(values).__name__})")
    version = values.pop("schema", None)
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"{root}: shard schema {version!r} cannot be read, this code reads 1..{SCHEMA_VERSION}")
    absent = [name for name in Manifest.__dataclass_fields__ if name not in values]
    if absent:
        raise ValueError(f"{root}/{MANIFEST}: lacks {', '.join(absent)}")
    for name, kind in get_type_hints(Manifest).items():
        if not _fits(values[name], kind):
            kind_name = str(Manifest.__dataclass_fields__[name].type)
            raise ValueError(f"{root}/{MANIFEST}: {name} must be {kind_name}, got {str(values[name])[:80]}")
    from epam_data.prepare import PrepareSettings  # not above: a loader's workers need no decoder

    for name, settings in (("prepare", PrepareSettings), ("shard", ShardSettings)):
        absent = [key for key in settings.__dataclass_fields__ if key not in values[name]]
        if absent:
            raise ValueError(f"{root}/{MANIFEST}: {name} lacks {', '.join(absent)}")
    fields = {name: values[name] for name in Manifest.__dataclass_fields__}
    for name in ("joints", "classes", "groups", "coarse_of"):
        fields[name] = tuple(fields[name])
    if len(fields["coarse_of"]) != len(fields["classes"]):
        counts = f"{len(fields['classes'])} classes need a group each, {len(fields['coarse_of'])} have one"
        raise ValueError(f"{root}/{MANIFEST}: {counts}")
    fields["shards"] = tuple(ShardEntry(**entry) for entry in fields["shards"])
    return Manifest(**fields)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value can become a field of this type: lists for tuples, objects for dataclasses."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if origin is UnionType:
        return any(_fits(value, choice) for choice in inner)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        same = isinstance(value, dict) and value.keys() == hints.keys()
        return same and all(_fits(value[name], hint) for name, hint in hints.items())
    return kind is Any or isinstance(value, kind)


@dataclass(frozen=True, kw_only=True)
class Index:
    """`index.h5`: one row per sample, shard by shard in the order of the manifest."""

    keys: NDArray[np.bytes_]  # (N,)
    shard: NDArray[np.int32]  # (N,) place of the shard in the manifest
    offset: NDArray[np.int64]  # (N,) bytes into the shard
    member_bytes: NDArray[np.int64]  # (N, 4) size of each member, in the order of `codec.MEMBERS`
    label: NDArray[np.int32]  # (N,) -1: hidden
    coarse_label: NDArray[np.int32]  # (N,) -1: hidden
    num_frames: NDArray[np.int32]  # (N,)

    def __len__(self) -> int:
        return len(self.keys)

    def row(self, number: int) -> IndexRow:
        """One row."""
        return IndexRow(
            key=self.keys[number].decode(),
            label=int(self.label[number]),
            coarse_label=int(self.coarse_label[number]),
            num_frames=int(self.num_frames[number]),
            offset=int(self.offset[number]),
            member_bytes=tuple(self.member_bytes[number].tolist()),
        )

    @cached_property
    def row_of_key(self) -> dict[str, int]:
        """Number of the row of each key."""
        return {key.decode(): number for number, key in enumerate(self.keys)}


_DTYPES = {
    "keys": f"S{MAX_KEY_LENGTH}",
    "shard": "i4",
    "offset": "i8",
    "member_bytes": "i8",
    "label": "i4",
    "coarse_label": "i4",
    "num_frames": "i4",
}


def index_bytes(shards: list[ShardSummary]) -> bytes:
    """The content of `index.h5`; equal shards give equal bytes."""
    rows = [(number, row) for number, shard in enumerate(shards) for row in shard.rows]
    columns: dict[str, list[Any]] = {
        "keys": [row.key.encode() for _, row in rows],
        "shard": [number for number, _ in rows],
        **{
            name: [getattr(row, name) for _, row in rows]
            for name in ("offset", "member_bytes", "label", "coarse_label", "num_frames")
        },
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110"), track_order=False) as file:
        file.attrs["schema"] = SCHEMA_VERSION
        for name, dtype in _DTYPES.items():
            shape = (len(rows), len(MEMBERS)) if name == "member_bytes" else (len(rows),)
            file.create_dataset(name, data=np.array(columns[name], dtype).reshape(shape), track_times=False)
    return buffer.getvalue()


def load_index(root: Path | str, *, sha256: str | None = None) -> Index:
    """Read `index.h5` of a shard directory, or of shards by URL.

    Args:
        root: the directory or URL.
        sha256: what the manifest says of it; None: not compared.

    Raises:
        ValueError: the file is absent or damaged, a column is, a key is not ASCII, or it is not the manifest's.
    """
    data = _read_file(root, INDEX)
    if data is None:
        raise ValueError(f"{root}/{INDEX}: not a readable index (there is no such file)")
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{root}/{INDEX}: is not the index of {MANIFEST}: it is damaged, or of another build")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            columns = {name: file[name][()] for name in _DTYPES}
    except (OSError, KeyError) as error:
        raise ValueError(f"{root}/{INDEX}: not a readable index ({error})") from error
    shapes = {name: np.shape(column) for name, column in columns.items()}
    wanted = {name: (len(columns["keys"]), *((len(MEMBERS),) if name == "member_bytes" else ())) for name in _DTYPES}
    if shapes != wanted:
        raise ValueError(f"{root}/{INDEX}: not a readable index (columns must be {wanted}, got {shapes})")
    if columns["keys"].dtype.kind != "S":
        raise ValueError(f"{root}/{INDEX}: keys must be bytes of fixed length, got {columns['keys'].dtype}")
    for row, key in enumerate(columns["keys"].tolist()):
        if not key.isascii():
            raise ValueError(f"{root}/{INDEX}: row {row}: a key must be ASCII, got {key!r}")
    return Index(**columns)


def _read_file(root: Path | str, name: str) -> bytes | None:
    """A small file of a shard directory or URL; None where there is none."""
    if is_url(root):
        return RemoteFolder(str(root), attempts=READ_ATTEMPTS).read(name)
    try:
        return (Path(root) / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
