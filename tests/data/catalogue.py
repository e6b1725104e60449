"""Manifest and index of shards that are not there: for what looks at names, labels and splits alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.skeleton import COCO17, MA52_28
from epam_data.taxonomy import TAXONOMIES


def manifest(dataset: str = "ntu60", protocol: str | None = "xsub", **changes: Any) -> Manifest:
    """Two shards of train, one of val."""
    table = TAXONOMIES[dataset]
    entries = [("train-000000", "train"), ("train-000001", "train"), ("val-000000", "val")]
    shards = tuple(ShardEntry(name=n, split=s, num_samples=0, num_bytes=0, sha256="") for n, s in entries)
    values: dict[str, Any] = dict.fromkeys(Manifest.__dataclass_fields__)
    skeleton = COCO17 if dataset == "ntu60" else MA52_28
    values |= {"skeleton": skeleton.name, "joints": skeleton.joints}
    values |= {"dataset": dataset, "protocol": protocol, "shards": shards, "problems": {}, "taxonomy": dataset}
    values |= {name: getattr(table, name) for name in ("classes", "groups", "coarse_of")}
    return Manifest(**{**values, **changes})


def index(keys: Sequence[str], shard: Sequence[int], label: Sequence[int]) -> Index:
    """Rows of which only these columns matter."""
    n = len(keys)
    return Index(
        keys=np.array([key.encode() for key in keys], "S80"),
        shard=np.array(shard, np.int32),
        label=np.array(label, np.int32),
        coarse_label=np.full(n, -1, np.int32),
        offset=np.zeros(n, np.int64),
        member_bytes=np.zeros((n, 4), np.int64),
        num_frames=np.ones(n, np.int32),
    )


def name(camera: int = 1, subject: int = 1, action: int = 1, replication: int = 1) -> str:
    """A clip's name in NTU RGB+D."""
    return f"S001C{camera:03d}P{subject:03d}R{replication:03d}A{action:03d}"
