import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from epam_data.check.check import CheckReport, CheckSettings, annotated, check, deep_keys
from epam_data.check.rules.finding import Finding
from epam_data.readers import find_reader
from epam_data.readers.names import key_from_name
from epam_data.schema import Clip, Problem
from epam_data.shards.codec import HEATMAP_TOLERANCE, MEMBERS
from epam_data.shards.head import read_head
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.system.executors import ExecutorSettings
from tests.data.damage import change_index, change_manifest, rewrite_first, with_json
from tests.data.damage_table import DAMAGES, SHARD, a_member_that_grew, found_in, in_tar, place

ALL = CheckSettings(sample="all")
HERE = ExecutorSettings()


@pytest.fixture
def shards(ntu60_shards: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(ntu60_shards, tmp_path / "shards", ignore=shutil.ignore_patterns(".build")))


def matches(found: Finding, wanted: Finding) -> bool:
    fields = [field.name for field in dataclasses.fields(Finding) if field.name != "what"]
    return wanted.what in found.what and all(
        getattr(wanted, name) in ("", None) or getattr(found, name) == getattr(wanted, name) for name in fields
    )


@pytest.mark.parametrize("name", DAMAGES)
def test_each_kind_of_damage_is_found_and_named(name: str, shards: Path):
    wanted = DAMAGES[name](shards)
    findings = check(shards, ALL, HERE).findings
    assert any(matches(found, wanted) for found in findings), "\n".join([f"wanted {wanted}", *map(str, findings)])


def test_the_table_is_long_enough():
    assert len(DAMAGES) >= 20


def test_good_shards_raise_no_alarm(ntu60_shards: Path, ma52_shards: Path):
    for root, num_samples in ((ntu60_shards, 19), (ma52_shards, 8)):
        report = check(root, CheckSettings(sample="all", rgb=True), HERE)
        assert report.findings == ()
        assert report.num_samples == report.num_deep == report.num_decoded == num_samples
        assert 0 < report.heatmap_error <= HEATMAP_TOLERANCE + 1e-5


def test_workers_find_the_same(shards: Path):
    in_tar(shards / "val-000000.tar", place(shards, 14, "heatmap.npy.zst")[1])
    alone, together = (check(shards, ALL, ExecutorSettings(workers=workers)) for workers in (0, 2))
    assert alone.findings == together.findings and alone.findings
    assert [clip.key for clip in alone.measures] == [clip.key for clip in together.measures]


def test_a_displacement_is_reported_once(shards: Path):
    a_member_that_grew(shards)
    moved = [found for found in check(shards, ALL, HERE).findings if "misplaced" in found.what]
    assert len(moved) == 1


@pytest.mark.parametrize("ending", MEMBERS)
def test_a_flipped_bit_anywhere_is_found_and_its_member_named(ending: str, shards: Path):
    """Also in a JPEG's pixels, which have no redundancy of their own; in KEY.json as far as it no longer opens."""

    def opens(data: bytes) -> bool:
        try:
            return bool(read_head(data))
        except ValueError:
            return False

    path, rng = shards / f"{SHARD}.tar", np.random.default_rng(0)
    whole = path.read_bytes()
    key, start, size = place(shards, 2, ending)
    for at in rng.choice(size, 8, replace=False).tolist():
        in_tar(path, start + at)
        findings = check(shards, CheckSettings(sample=0), HERE).findings
        assert any(f.check == "shard" and "its sha256 is not the manifest's" in f.what for f in findings), at
        if ending != "json":
            assert any(matches(f, found_in(ending, key, "its CRC-32 is not", offset=start)) for f in findings), at
        elif not opens(path.read_bytes()[start : start + size]):
            # One that opens may say what nothing contradicts: then the shard's sha256 alone tells.
            assert any(matches(f, found_in(ending, key, "", offset=start)) for f in findings), at
        path.write_bytes(whole)


def test_the_annotation_is_compared(
    ntu60_raw: Path, ntu60_shards: Path, ma52_raw: Path, ma52_shards: Path, shards: Path
):
    for raw, root in ((ntu60_raw / "skeletons.pkl", ntu60_shards), (ma52_raw, ma52_shards)):
        assert check(root, CheckSettings(sample=0, skeletons=raw), HERE).findings == ()
    old = load_index(shards).row(2).key
    dataset = load_manifest(shards).dataset
    change_manifest(shards, dataset="other")
    with pytest.raises(ValueError, match=r"check\.skeletons: data set must be one of ma52, ntu60, .* got 'other'"):
        check(shards, CheckSettings(sample=0, skeletons=ntu60_raw / "skeletons.pkl"), HERE)
    change_manifest(shards, dataset=dataset)
    change_index(shards, keys={2: b"other"}, label={0: 7})
    findings = check(shards, CheckSettings(sample=0, skeletons=ntu60_raw / "skeletons.pkl"), HERE).findings
    texts = [(found.key, found.what) for found in findings if found.check == "annotation"]
    assert (old, "annotated for train, but neither in the index nor reported") in texts
    assert ("other", "the annotation does not have this clip") in texts
    assert any("the index has train, label 7" in what for _, what in texts)


def test_annotated_clips_have_the_keys_that_a_build_gives_them():
    """Also clips that a reader reports as problems have keys of their own."""

    def clip(name: str, label: int | None = 3) -> Clip:
        keypoints = np.zeros((1, 2, 17, 2), np.float32)
        key = key_from_name(name)
        return Clip(key=key, name=name, split="val", label=label, keypoints=keypoints,
                    scores=keypoints[..., 0], image_size=(8, 8))  # fmt: skip

    problem = Problem(name="run/002", split="val", action="skipped", reason="r")
    records = [clip("wave/001"), clip("bow/001", None), problem, clip("hop/002"), clip("sit/003")]
    assert annotated(records) == [
        ("wave-001", "val", 3),
        ("bow-001", "val", None),
        ("hop-002", "val", 3),
        ("003", "val", 3),
    ]


NO_CLIPS = dataclasses.replace(find_reader("ntu60"), read=lambda raw: iter(()))


def test_annotations_are_read_by_the_reader_that_applies(ntu60_raw: Path, ntu60_shards: Path, monkeypatch):
    """A built-in one reads files of strangers, in a process with limits."""
    calls = []
    monkeypatch.setattr("epam_data.check.check.read_with_limits", lambda *given: calls.append(given) or [])
    raw = ntu60_raw / "skeletons.pkl"
    check(ntu60_shards, CheckSettings(sample=0, skeletons=raw), HERE)
    assert [files for files, *_ in calls] == [[raw]]
    named = CheckSettings(sample=0, skeletons=raw, dataset=f"{__name__}:NO_CLIPS")
    findings = check(ntu60_shards, named, HERE).findings
    assert len(calls) == 1 and len(findings) == 19
    assert {finding.what for finding in findings} == {"the annotation does not have this clip"}


def test_the_containers_are_compared(ntu60_raw: Path, shards: Path):
    settings = CheckSettings(sample="all", videos=ntu60_raw / "videos")
    assert check(shards, settings, HERE).findings == ()
    key = rewrite_first(shards, lambda members: with_json(members, video_frames=80, skeleton_frames=44))
    what = [found.what for found in check(shards, settings, HERE).findings if found.key == key]
    assert any("the container's header says" in text and "the decoder returned 80" in text for text in what)


def test_the_deep_subset_is_seeded(ntu60_shards: Path):
    index = load_index(ntu60_shards)
    some = CheckSettings(sample=5)
    assert deep_keys(index, some) == deep_keys(index, some)
    assert len(deep_keys(index, some)) == 5
    assert deep_keys(index, some) != deep_keys(index, CheckSettings(sample=5, seed=1))
    assert len(deep_keys(index, CheckSettings(sample=0))) == 0
    assert deep_keys(index, ALL) == frozenset(index.row_of_key)
    report: CheckReport = check(ntu60_shards, some, HERE)
    assert (report.num_samples, report.num_deep, report.num_decoded) == (19, 5, 0)


@pytest.mark.parametrize(
    ("sample", "count"), [("1%", 2), ("0.1%", 1), ("100%", 200), ("500", 200), (500, 200), (7, 7), ("all", 200), (0, 0)]
)
def test_the_size_of_the_deep_subset(sample: int | str, count: int):
    assert CheckSettings(sample=sample).num_deep(200) == count


@pytest.mark.parametrize("sample", ["some", -1, "101%", "-1%", "", "1.5", "9" * 400 + "%", "9" * 5000])
def test_bad_sizes_are_refused(sample: int | str):
    with pytest.raises(ValueError, match=r"check\.sample must be a number, a share such as 1%, or all, got"):
        CheckSettings(sample=sample)


def test_no_shard_directory_is_refused(tmp_path: Path, shards: Path):
    with pytest.raises(ValueError, match=r"no manifest\.json found"):
        check(tmp_path, ALL, HERE)
    change_manifest(shards, prepare={"sigma_px": "wide"})
    with pytest.raises(ValueError, match=r"manifest\.json: prepare\.sigma_px: expected float, got wide"):
        check(shards, ALL, HERE)


def test_what_cannot_be_compared_with_is_refused_before_any_shard(ntu60_shards: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("epam_data.check.check.run", lambda *_: pytest.fail("a shard was checked"))
    with pytest.raises((ValueError, OSError), match="none"):
        check(ntu60_shards, CheckSettings(skeletons=tmp_path / "none"), HERE)
    with pytest.raises(ValueError, match="none: no such folder, expected the videos"):
        check(ntu60_shards, CheckSettings(videos=tmp_path / "none"), HERE)


def test_a_reader_of_ones_own_is_asked_where_the_settings_name_it(ntu60_raw: Path, shards: Path):
    """The manifest alone must not name code to import: then names and protocol are not checked, and that is said."""
    change_manifest(shards, dataset="my_module:READER", protocol="xset")
    report = check(shards, CheckSettings(sample=0), HERE)
    assert report.findings == () and report.reader is None
    assert any(note.startswith("my_module:READER is not a built-in data set") for note in report.notes)
    raw = ntu60_raw / "skeletons.pkl"
    change_manifest(shards, protocol="xsub")
    named = check(shards, CheckSettings(sample=0, dataset="epam_data.readers.ntu60:READER", skeletons=raw), HERE)
    assert named.findings == () and "train: 14 clips, the published files have 40,091" in named.notes
    change_manifest(shards, protocol="xset")
    (finding,) = check(shards, CheckSettings(sample=0, dataset="ntu60"), HERE).findings
    assert "protocol must be one of those of my_module:READER (xsub, xview), got 'xset'" in finding.what
    with pytest.raises(ValueError, match=r"^dataset 'my_module:READER': my_module cannot be imported"):
        check(shards, CheckSettings(sample=0, dataset="my_module:READER"), HERE)


def test_the_usual_settings():
    usual = CheckSettings()
    assert (usual.sample, usual.rgb, usual.seed, usual.skeletons, usual.videos, usual.dataset) == (
        64, False, 0, None, None, None
    )  # fmt: skip


def test_a_reports_counts_are_those_of_its_clips(ntu60_shards: Path):
    report = check(ntu60_shards, CheckSettings(sample=0), HERE)
    assert (report.num_samples, report.num_deep, report.num_decoded, report.heatmap_error) == (19, 0, 0, 0.0)
    first, second, *rest = report.measures
    some = dataclasses.replace(first, heatmap_error=0.25), dataclasses.replace(second, heatmap_error=0.5, decoded=True)
    changed = dataclasses.replace(report, measures=(*some, *rest))
    assert (changed.num_samples, changed.num_deep, changed.num_decoded, changed.heatmap_error) == (19, 2, 1, 0.5)


def test_progress_tells_of_shards_and_problems(shards: Path):
    key, start, _ = place(shards, 14, "keypoints.npy")  # the first clip of the fifth shard
    in_tar(shards / "val-000000.tar", start + 1)
    told: list[tuple[int, int, str]] = []
    report = check(shards, CheckSettings(sample=0), HERE, lambda *said: told.append(said))
    num_found = len(report.findings)
    assert [said[:2] for said in told] == [(number, 6) for number in range(1, 7)] and num_found > 1
    assert [said[2] for said in told] == ["0 problems"] * 4 + [f"{num_found} problems"] * 2
    assert {finding.key for finding in report.findings} == {"", key}


def test_what_the_shards_hold_twice_and_a_shift_of_the_set_are_found(shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("epam_data.check.check.set_shift", lambda motions: Finding(check="alignment", what="shifted"))
    monkeypatch.setattr(
        "epam_data.check.check.duplicate_findings",
        lambda contents: [
            Finding(check="duplicate", shard=shard, key=contents[0].key, what="twice") for shard in ("", "val-000001")
        ],
    )
    findings = check(shards, CheckSettings(sample=0), HERE).findings
    key = load_index(shards).row(0).key
    assert findings == (
        Finding(check="alignment", what="shifted"),
        Finding(check="duplicate", shard=SHARD, key=key, what="twice"),
        Finding(check="duplicate", shard="val-000001", key=key, what="twice"),  # a shard that a finding names stays
    )


def test_findings_name_the_shard_where_the_index_knows_it(shards: Path):
    """A stray shard number has no name."""
    keys = [load_index(shards).row(row).key for row in (0, 1, 2, 18)]
    change_index(shards, label={0: 70, 1: 70, 2: 70, 18: 70}, shard={0: 6, 1: -1})
    findings = check(shards, CheckSettings(sample=0), HERE).findings
    named = {finding.key: finding.shard for finding in findings if "label must be" in finding.what}
    assert named == {keys[0]: "", keys[1]: "", keys[2]: SHARD, keys[3]: "val-000001"}


def test_a_shard_that_nobody_lists_is_found(shards: Path):
    (shards / "extra-000000.tar").write_bytes(b"")
    (found,) = check(shards, CheckSettings(sample=0), HERE).findings
    assert (found.check, found.shard, found.what) == (
        "index", "extra-000000", "the manifest does not list this shard"
    )  # fmt: skip


def test_a_damaged_line_of_the_problems_is_named(shards: Path):
    good = '{"name": "x", "split": "train", "action": "excluded", "reason": "r"}\n'
    (shards / "problems.jsonl").write_text(good + "{\n")
    said = [finding.what for finding in check(shards, CheckSettings(sample=0), HERE).findings]
    assert len(said) == 1 and said[0].startswith("problems.jsonl: line 2")
