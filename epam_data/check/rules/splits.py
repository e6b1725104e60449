"""The splits: what training must not have seen, how classes lie in shards, repeated content, and hidden labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epam_data.check.rules.finding import Finding
from epam_data.check.rules.shard_balance import NUM_DRAWS, shard_balance
from epam_data.schema import SPLITS
from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest

PUBLISHED_CLIPS = {
    ("ntu60", "xsub"): {"train": 40_091, "val": 16_487},
    ("ntu60", "xview"): {"train": 37_646, "val": 18_932},
    ("ma52", None): {"train": 11_250, "val": 5_586, "test": 5_586},
}
"""Clips of each split in the published skeleton files (NTU RGB+D 60: after the 302 without skeletons)."""

_NTU_NAME = re.compile(r"S\d{3}C(?P<camera>\d{3})P(?P<subject>\d{3})R\d{3}A(?P<action>\d{3})")
_PUBLISHED_SUBJECTS = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
_PUBLISHED_CAMERAS = frozenset((2, 3))
_HIDDEN_CLIPS = 10  # that all have one label: no chance, but labels that are hidden


@dataclass(frozen=True, kw_only=True)
class ClipContent:
    """What identifies the content of a clip."""

    key: str
    split: str
    digests: Mapping[str, bytes]  # of what: "frames", "keypoints" -> hash


def split_findings(manifest: Manifest, index: Index) -> Iterator[Finding]:
    """What training must not have seen: subjects (X-Sub) or cameras (X-View) of the other splits; labels of names."""
    for shard in manifest.shards:
        if shard.split not in SPLITS:
            what = f"split must be one of {', '.join(SPLITS)}, got {shard.split!r}"
            yield Finding(check="split", shard=shard.name, what=what)
    splits = split_of_clips(manifest, index)
    part = {"xsub": "subject", "xview": "camera"}.get(manifest.protocol or "")
    seen: dict[tuple[str, str], list[str]] = {}  # (split, subject or camera) -> keys
    for row, key in enumerate(key.decode() for key in index.keys.tolist()):
        match = _NTU_NAME.fullmatch(key)
        if match is None:
            continue
        if part and splits[row] in SPLITS:  # else: said above, or by `index_findings`
            seen.setdefault((splits[row], match[part]), []).append(key)
        if index.label[row] >= 0 and int(match["action"]) - 1 != index.label[row]:
            what = f"the name says label {int(match['action']) - 1}, the index {index.label[row]}"
            yield Finding(check="label", key=key, what=what)
    for (split, number), keys in seen.items():
        others = [other for other in SPLITS[SPLITS.index(split) + 1 :] if (other, number) in seen]
        for other in others:
            what = (
                f"{part} {int(number)} is in {split} ({len(keys)} clips, as {keys[0]}) and in {other} "
                f"({len(seen[other, number])} clips, as {seen[other, number][0]}): {manifest.protocol} leaks"
            )
            yield Finding(check="split", what=what)


def label_findings(manifest: Manifest, index: Index) -> Iterator[Finding]:
    """Hidden labels: all or none of a split, and never stored as one class."""
    splits = split_of_clips(manifest, index)
    shown = index.label[index.label >= 0]
    for split in SPLITS:
        labels = index.label[splits == split]
        num_hidden = int((labels < 0).sum())
        if 0 < num_hidden < len(labels):
            yield Finding(
                check="label", what=f"{split}: {num_hidden} of {len(labels)} labels are hidden, expected all or none"
            )
        elif (
            len(labels) >= _HIDDEN_CLIPS
            and labels[0] >= 0
            and (labels == labels[0]).all()
            and (shown != labels[0]).any()
        ):
            what = f"{split}: all {len(labels)} clips have label {labels[0]}; hidden labels must be stored as hidden"
            yield Finding(check="label", what=what)


def balance_findings(manifest: Manifest, index: Index, seed: int) -> Iterator[Finding]:
    """A split whose classes are not shuffled over its shards; see `Balance.badly_shuffled` for the false-alarm rate."""
    splits = split_of_clips(manifest, index)
    for split in SPLITS:
        mine = (splits == split) & (index.label >= 0) & (index.label < len(manifest.classes))
        balance = shard_balance(index.shard[mine], index.label[mine], seed)
        if balance is not None and balance.badly_shuffled:
            what = (
                f"badly shuffled: of class {balance.label} ({manifest.classes[balance.label]}) this shard has "
                f"{balance.count} clips where a shuffle gives {balance.wanted:.1f}; chi-square over {split} "
                f"{balance.statistic:.0f}, in {NUM_DRAWS} shuffles {balance.expected:.0f} +- {balance.deviation:.0f}"
            )
            yield Finding(check="balance", shard=manifest.shards[balance.shard].name, what=what)


def duplicate_findings(contents: Iterable[ClipContent]) -> Iterator[Finding]:
    """Clips whose frames or keypoints are those of another clip, byte for byte."""
    first: dict[tuple[str, bytes], ClipContent] = {}
    for content in contents:
        for what, digest in content.digests.items():
            twin = first.setdefault((what, digest), content)
            if twin.key != content.key:  # a key that the index has twice is said by `index_findings`
                leak = f": {twin.split} leaks into {content.split}" if twin.split != content.split else ""
                said = f"has the same {what} as {twin.key} of {twin.split}, byte for byte{leak}"
                yield Finding(check="duplicate", key=content.key, what=said)


def notes(manifest: Manifest, index: Index) -> Iterator[str]:
    """What a reader should know and no check can judge."""
    splits = split_of_clips(manifest, index)
    published = PUBLISHED_CLIPS.get((manifest.dataset, manifest.protocol), {})
    for split in SPLITS:
        labels = index.label[splits == split]
        if split in published:
            yield f"{split}: {len(labels):,} clips, the published files have {published[split]:,}"
        absent = len(manifest.classes) - len(np.unique(labels[labels >= 0]))
        if absent and (labels >= 0).any():
            yield f"{split}: {absent} of {len(manifest.classes)} classes have no clip"
    for action, count in manifest.problems.items():
        yield f"{count} clips were {action} at build time, see problems.jsonl"
    if manifest.dataset == "ntu60" and manifest.protocol in ("xsub", "xview"):
        part, train = {"xsub": ("subject", _PUBLISHED_SUBJECTS), "xview": ("camera", _PUBLISHED_CAMERAS)}[
            manifest.protocol
        ]
        matches = [
            (split, _NTU_NAME.fullmatch(key.decode())) for split, key in zip(splits, index.keys.tolist(), strict=True)
        ]
        odd = sum((int(match[part]) in train) != (split == "train") for split, match in matches if match)
        if odd:
            yield f"{odd:,} clips are in another split than the published {part}s of {manifest.protocol} put them"


def split_of_clips(manifest: Manifest, index: Index) -> NDArray[np.str_]:
    """(N,) the split of each clip, by its shard; "" for a shard that the manifest does not have."""
    names = np.array([*(shard.split for shard in manifest.shards), ""])
    return names[np.where((index.shard >= 0) & (index.shard < len(manifest.shards)), index.shard, -1)]
