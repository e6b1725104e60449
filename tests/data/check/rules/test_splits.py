from dataclasses import replace
from typing import Any

import numpy as np

from epam_data.check.rules.finding import Finding
from epam_data.check.rules.splits import (
    ClipContent,
    balance_findings,
    duplicate_findings,
    label_findings,
    notes,
    split_findings,
    split_of_clips,
)
from epam_data.readers import Protocol, find_reader
from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.skeleton import COCO17, MA52_28
from epam_data.taxonomy import TAXONOMIES

NTU60 = find_reader("ntu60")


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


def index(keys: list[str], shard: list[int], label: list[int]) -> Index:
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


def name(camera: int = 1, subject: int = 1, action: int = 1) -> str:
    return f"S001C{camera:03d}P{subject:03d}R001A{action:03d}"


def findings(manifest: Manifest, index: Index) -> list[Finding]:
    return list(split_findings(manifest, index, find_reader(manifest.dataset)))


def test_a_subject_of_two_splits_leaks_in_x_sub_and_a_camera_in_x_view():
    keys = [name(2, 1), name(3, 2), name(3, 1)]
    found = index(keys, [0, 1, 2], [0, 0, 0])
    subject = [finding.what for finding in findings(manifest(), found)]
    assert subject == [
        f"subject 1 is in train (1 clips, e.g. {keys[0]}) and in val (1 clips, e.g. {keys[2]}): xsub leaks"
    ]
    camera = [finding.what for finding in findings(manifest(protocol="xview"), found)]
    assert camera == [
        f"camera 3 is in train (1 clips, e.g. {keys[1]}) and in val (1 clips, e.g. {keys[2]}): xview leaks"
    ]
    assert not findings(manifest(protocol=None), found)


def test_a_name_says_its_label():
    found = findings(manifest(), index([name(action=7), name(action=8)], [0, 0], [6, 6]))
    assert [(f.key, f.what) for f in found] == [(name(action=8), "the name says label 7, the index 6")]
    assert [f.what for f in findings(manifest(), index([name(action=5)], [0], [0]))] == [
        "the name says label 4, the index 0"
    ]
    assert not findings(manifest(), index([name(action=8)], [0], [-1]))  # hidden
    assert not findings(manifest("ma52", None), index(["0003_01_0001"], [0], [5]))


def test_an_unknown_protocol_is_a_finding_that_names_it():
    (finding,) = findings(manifest(protocol="xset"), index([name()], [0], [0]))
    assert (finding.check, finding.what) == (
        "split",
        "protocol must be one of those of ntu60 (xsub, xview), got 'xset': leaks between the splits cannot be checked",
    )
    (finding,) = findings(manifest("ma52", "xsub"), index(["0003_01_0001"], [0], [0]))
    assert finding.what.startswith("protocol must be one of those of ma52 (none), got 'xsub'")


def test_shards_without_a_protocol_or_a_known_reader_are_noted():
    found = index([name()], [0], [0])
    assert "the shards name no protocol of ntu60 (xsub, xview): leaks between splits cannot be checked" in notes(
        manifest(protocol=None), found, NTU60
    )
    own = manifest(protocol="any", dataset="ntu60")
    assert not list(split_findings(own, found, None))
    assert (
        "ntu60 is not a built-in data set: protocol, names and classes were not checked; name its reader with "
        "--check.dataset MODULE:NAME" in notes(own, found, None)
    )
    assert not any("name no protocol" in note for note in notes(manifest("ma52", None), found, find_reader("ma52")))


def test_any_protocol_of_the_reader_is_asked():
    """A rule of another data set: nothing of NTU's stands in the check."""
    rule = Protocol(split_by="setup", values={"train": frozenset((1,)), "val": frozenset((2,))}, num_clips={"val": 7})
    reader = replace(NTU60, protocols={"xset": rule})
    found = index([name(), name(2)], [0, 2], [0, 0])
    (finding,) = split_findings(manifest(protocol="xset"), found, reader)
    assert finding.what.startswith("setup 1 is in train (1 clips, e.g. ") and finding.what.endswith("xset leaks")
    said = list(notes(manifest(protocol="xset"), found, reader))
    assert "val: 1 clips, the published files have 7" in said
    assert "1 clips are not in the split that the published setups of xset assign" in said


def labels(values: list[int], shard: int = 2) -> list[str]:
    train = [0, 1, 2] * 4
    keys = [f"k{number}" for number in range(len(train) + len(values))]
    found = index(keys, [0] * len(train) + [shard] * len(values), train + values)
    return [finding.what for finding in label_findings(manifest("ma52", None), found)]


def test_hidden_labels_are_all_or_none_and_no_class():
    assert labels([-1] * 20) == labels([0, 1] * 10) == labels([]) == []
    assert labels([-1] * 3 + [4]) == ["val: 3 of 4 labels are hidden, expected all or none"]
    assert labels([0] * 20) == ["val: all 20 clips have label 0; hidden labels must be stored as hidden"]
    assert len(labels([0] * 10)) == 1 and labels([0] * 9) == []  # nine may be chance


def test_badly_shuffled_shards_are_named():
    keys = [f"k{number}" for number in range(60)]
    two = [0] * 30 + [1] * 30
    found = list(balance_findings(manifest("ma52", None), index(keys, two, [5] * 30 + [9] * 30), seed=0))
    assert len(found) == 1 and found[0].shard.startswith("train-00000")
    assert "this shard has 30 clips of class " in found[0].what and ", expected 15.0; " in found[0].what
    assert not list(balance_findings(manifest("ma52", None), index(keys, two, [5, 9] * 30), seed=0))
    assert not list(balance_findings(manifest("ma52", None), index(keys, two, [-1] * 60), seed=0))


def content(key: str, split: str, frames: bytes, keypoints: bytes) -> ClipContent:
    return ClipContent(key=key, split=split, digests={"frames": frames, "keypoints": keypoints})


def test_repeated_content_is_found_and_a_leak_is_called_one():
    contents = [
        content("a", "train", b"1", b"x"),
        content("b", "train", b"1", b"y"),
        content("c", "val", b"2", b"x"),
        content("d", "val", b"x", b"1"),  # the same bytes, but of another member
    ]
    assert [(f.key, f.what) for f in duplicate_findings(contents)] == [
        ("b", "has the same frames as a of train, byte for byte"),
        ("c", "has the same keypoints as a of train, byte for byte: train leaks into val"),
    ]


def test_notes_say_what_no_check_can_judge():
    found = index([name(subject=1), name(subject=3), name(subject=6)], [0, 1, 2], [0, 0, 1])
    said = list(notes(manifest(problems={"excluded": 4}), found, NTU60))
    assert "train: 2 clips, the published files have 40,091" in said
    assert "train: 59 of 60 classes have no clip" in said
    assert "4 clips were excluded at build time, see problems.jsonl" in said
    assert "1 clips are not in the split that the published subjects of xsub assign" in said
    assert not any(
        "published subjects" in note for note in notes(manifest(), index([name(subject=1)], [0], [0]), NTU60)
    )


def test_the_split_of_a_clip_is_its_shards():
    found = index(["a", "b", "c", "d"], [0, 2, 7, -1], [0] * 4)
    assert split_of_clips(manifest(), found).tolist() == ["train", "val", "", ""]


def test_a_stray_shard_number_and_an_unknown_split_crash_nothing():
    found = index([name(subject=1), name(subject=1)], [0, 7], [0, 0])
    assert not findings(manifest(), found)  # `index_findings` names the stray number
    shards = (*manifest().shards[:2], ShardEntry(name="dev-000000", split="dev", num_samples=0, num_bytes=0, sha256=""))
    (finding,) = findings(manifest(shards=shards), index([name(), name()], [0, 2], [0, 0]))
    assert (finding.shard, finding.what) == ("dev-000000", "split must be one of train, val, test, got 'dev'")


def test_a_clip_is_not_its_own_twin():
    twice = [content("a", "train", b"1", b"x"), content("a", "train", b"1", b"x")]
    assert list(duplicate_findings(twice)) == []
