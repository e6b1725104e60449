"""`manifest.json`: what a directory of shards holds and what it was made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from epam_data.schema import SCHEMA_VERSION
from epam_data.shards.layout import ShardSummary
from epam_data.shards.settings import ShardSettings
from epam_data.skeleton import LAYOUTS
from epam_data.system.remote import RemoteFolder, is_url

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

    @property
    def num_channels(self) -> int:
        """Channels of the stored heatmaps: joints, or limbs."""
        return LAYOUTS[self.skeleton].num_channels(self.prepare["heatmap_kind"])

    def shards_of(self, split: str) -> list[int]:
        """Numbers of the shards of a split."""
        return [number for number, shard in enumerate(self.shards) if shard.split == split]

    def to_json(self) -> bytes:
        """The file's bytes; equal manifests give equal bytes."""
        return (json.dumps({"schema": SCHEMA_VERSION, **asdict(self)}, indent=1) + "\n").encode()


def load_manifest(root: Path | str) -> Manifest:
    """Read `manifest.json` of a shard directory, or of shards by URL (s3://bucket/ntu60).

    Raises:
        ValueError: there is none (the build is not finished, or this is no shard directory), it is no manifest, or
            its schema is newer than this code.
    """
    data = read_small_file(root, MANIFEST)
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
    from epam_data.samples.settings import PrepareSettings

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


def read_small_file(root: Path | str, name: str) -> bytes | None:
    """A small file of a shard directory or URL; None where there is none."""
    if is_url(root):
        return RemoteFolder(str(root), attempts=READ_ATTEMPTS).read(name)
    try:
        return (Path(root) / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
