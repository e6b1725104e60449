from dataclasses import replace

import numpy as np
import pytest

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
from epam_data.taxonomy import TAXONOMIES
from tests.data.catalogue import index, manifest, name

NTU60 = find_reader("ntu60")


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
    assert labels([-1, 4, 0, 4]) == ["val: 1 of 4 labels are hidden, expected all or none"]
    assert labels([-1] * 3 + [4]) == ["val: 3 of 4 labels are hidden, expected all or none"]
    assert labels([0] * 20) == ["val: all 20 clips have label 0; hidden labels must be stored as hidden"]
    assert len(labels([0] * 10)) == 1 and labels([0] * 9) == []  # nine may be chance


def test_one_class_is_suspicious_only_where_the_set_has_others():
    keys = [f"k{number}" for number in range(20)]
    for train in (0, 5):
        found = index(keys, [0] * 10 + [2] * 10, [train] * 10 + [5] * 10)
        said = [finding.what.split(";")[0] for finding in label_findings(manifest("ma52", None), found)]
        wanted = ["train: all 10 clips have label 0", "val: all 10 clips have label 5"]
        assert said == (wanted if train == 0 else [])


def test_badly_shuffled_shards_are_named():
    keys = [f"k{number}" for number in range(60)]
    two = [0] * 30 + [1] * 30
    found = list(balance_findings(manifest("ma52", None), index(keys, two, [5] * 30 + [9] * 30), seed=0))
    assert len(found) == 1 and found[0].shard.startswith("train-00000")
    assert "this shard has 30 clips of class " in found[0].what and ", expected 15.0; " in found[0].what
    assert not list(balance_findings(manifest("ma52", None), index(keys, two, [5, 9] * 30), seed=0))
    assert not list(balance_findings(manifest("ma52", None), index(keys, two, [-1] * 60), seed=0))


def test_the_first_and_the_last_class_are_asked_for_and_no_others():
    keys = [f"k{number}" for number in range(60)]

    def said(*labels: int) -> list[str]:
        found = index(keys, [0] * 30 + [1] * 30, [label for label in labels for _ in range(60 // len(labels))])
        return [finding.what.split(":")[1] for finding in balance_findings(manifest("ma52", None), found, seed=0)]

    classes = TAXONOMIES["ma52"].classes
    assert len(said(0, 1)) == len(said(50, 51)) == 1
    assert any(f"of class {label} ({classes[label]})" in said(0, 51)[0] for label in (0, 51))
    assert said(5, 52) == said(5, -1) == []  # `index_findings` names what is no class


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


def test_a_split_that_hides_its_labels_or_has_all_classes_is_not_called_short_of_any():
    for values in ([-1] * 60, list(range(60))):
        found = index([f"k{number}" for number in range(60)], [0] * 60, values)
        assert not any("have no clip" in note for note in notes(manifest(), found, NTU60))


def test_columns_of_different_lengths_are_never_compared_in_part():
    found = index([name(subject=1), name(subject=1)], [0, 2], [0, 0])
    for column in ("label", "shard"):
        short = replace(found, **{column: getattr(found, column)[:1]})
        with pytest.raises(ValueError, match="zip"):
            findings(manifest(), short)
    with pytest.raises(ValueError, match="zip"):
        list(notes(manifest(), replace(found, shard=np.zeros(3, np.int32), label=np.zeros(3, np.int32)), NTU60))


def test_the_split_of_a_clip_is_its_shards():
    found = index(["a", "b", "c", "d"], [0, 2, 7, -1], [0] * 4)
    assert split_of_clips(manifest(), found).tolist() == ["train", "val", "", ""]


def test_a_stray_shard_number_and_an_unknown_split_crash_nothing():
    found = index([name(subject=1), name(subject=1)], [0, 7], [0, 0])
    assert not findings(manifest(), found)  # `index_findings` names the stray number
    shards = (*manifest().shards[:2], ShardEntry(name="dev-000000", split="dev", num_samples=0, num_bytes=0, sha256=""))
    (finding,) = findings(manifest(shards=shards), index([name(), name()], [0, 2], [0, 0]))
    assert (finding.shard, finding.what) == ("dev-000000", "split must be one of train, val, test, all, got 'dev'")


def test_a_clip_is_not_its_own_twin():
    twice = [content("a", "train", b"1", b"x"), content("a", "train", b"1", b"x")]
    assert list(duplicate_findings(twice)) == []
