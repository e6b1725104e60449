"""Check the splits: leaks, classes shuffled over shards, repeated content, hidden labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epam_data.check.rules.finding import Finding
from epam_data.check.rules.shard_balance import NUM_DRAWS, shard_balance
from epam_data.readers import Protocol, Reader
from epam_data.schema import ALL, STORED_SPLITS
from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest

_HIDDEN_CLIPS = 10  # if this many clips or more all have one label, their labels are hidden


@dataclass(frozen=True, kw_only=True)
class ClipContent:
    """Hashes that identify the content of a clip."""

    key: str
    split: str
    digests: Mapping[str, bytes]  # of what: "frames", "keypoints" -> hash


def split_findings(manifest: Manifest, index: Index, reader: Reader | None) -> Iterator[Finding]:
    """Unknown splits and protocols, subjects or cameras in two splits, and names that contradict the label.

    Args:
        manifest: of the shards.
        index: of the shards.
        reader: of the data set, with its protocols and name pattern; None: unknown, see `notes`.
    """
    for shard in manifest.shards:
        if shard.split not in STORED_SPLITS:
            what = f"split must be one of {', '.join(STORED_SPLITS)}, got {shard.split!r}"
            yield Finding(check="split", shard=shard.name, what=what)
    if reader is None:
        return
    if manifest.protocol not in (None, ALL, *reader.protocols):
        known = ", ".join(name for name in reader.protocols if name) or "none"
        got = f"got {manifest.protocol!r}: leaks between the splits cannot be checked"
        yield Finding(check="split", what=f"protocol must be one of those of {manifest.dataset} ({known}), {got}")
    for key, label in zip(index.keys.tolist(), index.label.tolist(), strict=True):
        name = key.decode()
        action = reader.name_fields(name).get("action")
        if action is not None and label >= 0 and action - 1 != label:
            yield Finding(check="label", key=name, what=f"the name says label {action - 1}, the index {label}")
    yield from _leaks(manifest, index, reader)


def _leaks(manifest: Manifest, index: Index, reader: Reader) -> Iterator[Finding]:
    """Subjects or cameras (whatever the protocol splits by) that are in two splits."""
    part = protocol_of(manifest, reader).split_by
    seen: dict[tuple[str, int], list[str]] = {}  # (split, subject or camera) -> keys
    for split, key in zip(split_of_clips(manifest, index).tolist(), index.keys.tolist(), strict=True):
        fields = reader.name_fields(key.decode())
        if part in fields and split in STORED_SPLITS:  # `split_findings` or `index_findings` reports other splits
            seen.setdefault((split, fields[part]), []).append(key.decode())
    for (split, number), keys in seen.items():
        for other in STORED_SPLITS[STORED_SPLITS.index(split) + 1 :]:
            if (other, number) in seen:
                what = (
                    f"{part} {number} is in {split} ({len(keys)} clips, e.g. {keys[0]}) and in {other} "
                    f"({len(seen[other, number])} clips, e.g. {seen[other, number][0]}): {manifest.protocol} leaks"
                )
                yield Finding(check="split", what=what)


def label_findings(manifest: Manifest, index: Index) -> Iterator[Finding]:
    """Labels of a split must be all hidden or all known; hidden ones must not be stored as a class."""
    splits = split_of_clips(manifest, index)
    one_class = len(np.unique(index.label[index.label >= 0])) == 1  # in all of the set
    for split in STORED_SPLITS:
        labels = index.label[splits == split]
        num_hidden = int((labels < 0).sum())
        if 0 < num_hidden < len(labels):
            what = f"{split}: {num_hidden} of {len(labels)} labels are hidden, expected all or none"
            yield Finding(check="label", what=what)
        elif len(labels) >= _HIDDEN_CLIPS and not num_hidden and not one_class and len(np.unique(labels)) == 1:
            what = f"{split}: all {len(labels)} clips have label {labels[0]}; hidden labels must be stored as hidden"
            yield Finding(check="label", what=what)


def balance_findings(manifest: Manifest, index: Index, seed: int) -> Iterator[Finding]:
    """A split whose classes are not shuffled over its shards; see `Balance.badly_shuffled` for the false-alarm rate."""
    splits = split_of_clips(manifest, index)
    for split in STORED_SPLITS:
        mine = (splits == split) & (index.label >= 0) & (index.label < len(manifest.classes))
        balance = shard_balance(index.shard[mine], index.label[mine], seed)
        if balance is not None and balance.badly_shuffled:
            what = (
                f"badly shuffled: this shard has {balance.count} clips of class {balance.label} "
                f"({manifest.classes[balance.label]}), expected {balance.wanted:.1f}; chi-square over {split} "
                f"{balance.statistic:.0f}, in {NUM_DRAWS} shuffles {balance.expected:.0f} +- {balance.deviation:.0f}"
            )
            yield Finding(check="balance", shard=manifest.shards[balance.shard].name, what=what)


def duplicate_findings(contents: Iterable[ClipContent]) -> Iterator[Finding]:
    """Clips whose frames or keypoints are identical to those of another clip."""
    first: dict[tuple[str, bytes], ClipContent] = {}
    for content in contents:
        for what, digest in content.digests.items():
            twin = first.setdefault((what, digest), content)
            if twin.key != content.key:  # `index_findings` reports a key that is in the index twice
                leak = f": {twin.split} leaks into {content.split}" if twin.split != content.split else ""
                found = f"has the same {what} as {twin.key} of {twin.split}, byte for byte{leak}"
                yield Finding(check="duplicate", key=content.key, what=found)


def notes(manifest: Manifest, index: Index, reader: Reader | None) -> Iterator[str]:
    """Notes for the user that are not findings; arguments as in `split_findings`."""
    splits = split_of_clips(manifest, index)
    protocol = protocol_of(manifest, reader)
    for split in STORED_SPLITS:
        labels = index.label[splits == split]
        if split in protocol.num_clips:
            yield f"{split}: {len(labels):,} clips, the published files have {protocol.num_clips[split]:,}"
        absent = len(manifest.classes) - len(np.unique(labels[labels >= 0]))
        if absent and (labels >= 0).any():
            yield f"{split}: {absent} of {len(manifest.classes)} classes have no clip"
    for action, count in manifest.problems.items():
        yield f"{count} clips were {action} at build time, see problems.jsonl"
    if reader is None:
        what = "protocol, names and classes were not checked; name its reader with --check.dataset MODULE:NAME"
        yield f"{manifest.dataset} is not a built-in data set: {what}"
    elif manifest.protocol is None and None not in reader.protocols and reader.protocols:
        known = ", ".join(name for name in reader.protocols if name)
        yield f"the shards name no protocol of {manifest.dataset} ({known}): leaks between splits cannot be checked"
    if reader is not None and protocol.values:
        fields = [reader.name_fields(key.decode()) for key in index.keys.tolist()]
        odd = sum(protocol.split_of(field) != split for field, split in zip(fields, splits, strict=True) if field)
        if odd:
            part = protocol.split_by
            yield f"{odd:,} clips are not in the split that the published {part}s of {manifest.protocol} assign"


def protocol_of(manifest: Manifest, reader: Reader | None) -> Protocol:
    """The protocol of the shards; an empty one if it is unknown, or if they hold the clips of all protocols."""
    return reader.protocols.get(manifest.protocol, Protocol()) if reader else Protocol()


def split_of_clips(manifest: Manifest, index: Index) -> NDArray[np.str_]:
    """(N,) the split of each clip, by its shard; "" for a shard that is not in the manifest."""
    names = np.array([*(shard.split for shard in manifest.shards), ""])
    known = np.isin(index.shard, range(len(manifest.shards)))
    return names[np.where(known, index.shard, -1)]
