from dataclasses import replace

import numpy as np

from epam_data.check.rules.catalogue import annotation_findings, index_findings, problem_findings, taxonomy_findings
from epam_data.readers import find_reader
from epam_data.schema import Problem
from epam_data.taxonomy import Taxonomy
from tests.data.check.rules.test_splits import index, manifest


def whats(findings) -> list[str]:
    return [f"{finding.key}|{finding.what}" for finding in findings]


def counted(*counts: int):
    """A manifest whose shards have these counts."""
    plain = manifest("ma52", None)
    entries = [
        type(entry)(**{**entry.__dict__, "num_samples": count})
        for entry, count in zip(plain.shards, counts, strict=True)
    ]
    return manifest("ma52", None, shards=tuple(entries))


def test_an_index_that_agrees_raises_no_finding():
    good = index(["a", "b", "c"], [0, 1, 2], [-1, -1, -1])
    assert whats(index_findings(counted(1, 1, 1), good)) == []


def test_what_disagrees_is_named():
    bad = index(["a", "a", "b c", "d"], [0, 0, 1, 9], [-1, -1, 52, -2])
    said = whats(index_findings(counted(1, 1, 0), bad))
    assert "d|is in shard number 9, the manifest lists 3" in said
    assert "|the manifest counts 1 samples, the index 2" in said
    assert "a|the key is in the index 2 times" in said
    assert any(text.startswith("b c|'b c': a key must be 1 to 80 characters") for text in said)
    assert "b c|label must be in 0..51 (-1: hidden), got 52" in said
    assert "d|label must be in 0..51 (-1: hidden), got -2" in said
    coarse = index(["a"], [0], [11])
    assert whats(index_findings(counted(1, 0, 0), coarse)) == ["a|coarse label of class 11 must be 2, the index has -1"]
    twice = manifest("ma52", None, shards=counted(0, 0, 0).shards[:1] * 2)
    assert any(
        f.shard == "train-000000" and "lists this shard 2 times" in f.what
        for f in index_findings(twice, index([], [], []))
    )


NTU60 = find_reader("ntu60")


def test_classes_and_joints_are_those_of_the_data_set():
    assert whats(taxonomy_findings(manifest(), NTU60)) == whats(taxonomy_findings(manifest(), None)) == []
    coarse = manifest().coarse_of
    changed = manifest(coarse_of=(*coarse[:5], 3, *coarse[6:]))
    for reader in (NTU60, None):  # without a reader, the table of that name
        wrong = whats(taxonomy_findings(changed, reader))
        assert wrong == [f"|manifest: coarse_of are not those of the ntu60 table: number 5 is 3, expected {coarse[5]}"]
    short = whats(taxonomy_findings(manifest(coarse_of=coarse[:49]), NTU60))
    assert any("no class belongs to the groups mutual" in text for text in short)
    for change in ({"joints": ()}, {"skeleton": "other"}):
        said = whats(taxonomy_findings(manifest(**change), NTU60))
        assert any("its joints are not those of the coco17 layout" in text for text in said)
    assert whats(taxonomy_findings(manifest(joints=()), None))


def test_the_classes_of_another_table_are_named_unless_nobody_knows_them():
    own = manifest(taxonomy="own")
    assert whats(taxonomy_findings(own, None)) == []  # another's classes are theirs
    assert whats(taxonomy_findings(own, NTU60)) == [
        "|manifest: taxonomy must be ntu60 for data set ntu60, got own"
    ]


def test_classes_without_groups_have_no_coarse_label():
    plain = replace(counted(1, 0, 0), groups=(), coarse_of=())
    taxonomy = Taxonomy(name="ma52", classes=plain.classes)
    assert whats(taxonomy_findings(plain, replace(find_reader("ma52"), taxonomy=taxonomy))) == []
    assert whats(index_findings(plain, index(["a"], [0], [11]))) == []
    grouped = replace(index(["a"], [0], [11]), coarse_label=np.array([2], np.int32))
    assert whats(index_findings(plain, grouped)) == ["a|coarse label of class 11 must be -1, the index has 2"]


def problem(name: str, action: str) -> Problem:
    return Problem(name=name, split="train", action=action, reason="r")


def test_a_skipped_clip_is_absent_and_a_mended_one_is_there():
    there = index(["a", "b"], [0, 0], [0, 0])
    problems = [problem("train/a", "mended"), problem("train/c", "skipped"), problem("d", "excluded")]
    counts = {"mended": 1, "skipped": 1, "excluded": 1}
    assert whats(problem_findings(manifest(problems=counts), there, problems)) == []
    wrong = [problem("b", "skipped"), problem("c", "mended")]
    assert whats(problem_findings(manifest(problems={"skipped": 2}), there, wrong)) == [
        "|problems.jsonl counts {'mended': 1, 'skipped': 1}, the manifest {'skipped': 2}",
        "b|problems.jsonl says skipped, but the clip is in the index",
        "c|problems.jsonl says mended, but the clip is not in the index",
    ]


def test_every_annotated_clip_is_there_or_reported():
    there = index(["a", "b", "v"], [0, 1, 2], [3, -1, 5])
    problems = [problem("x/c", "skipped"), problem("a", "mended")]
    annotated = [("a", "train", 3), ("b", "train", None), ("c", "train", 1), ("v", "val", 5)]
    assert whats(annotation_findings(manifest(), there, problems, annotated)) == []
    annotated = [("a", "val", 3), ("b", "train", 2), ("z", "train", 1)]
    assert whats(annotation_findings(manifest(), there, problems, annotated)) == [
        "a|annotated as val, label 3; the index has train, label 3",
        "b|annotated as train, label 2; the index has train, label -1",
        "z|annotated for train, but neither in the index nor reported",
        "v|the annotation does not have this clip",
    ]
