"""Streams of views: any protocol from one build, and the laws of the stream on random views, ranks and resumes."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epam_data.build.build import build
from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings
from epam_data.readers.ntu60 import READER
from epam_data.shards.index import load_index
from epam_data.shards.layout import MANIFEST
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import ShardReader
from epam_data.shards.settings import ShardSettings
from epam_data.stream import Stream, StreamSettings
from epam_data.views.resolve import resolve_view
from epam_data.views.view import load_view
from tests.data.raw_data import SMALL, annotation, person, write_pickle, write_recording
from tests.paths import ROOT

VIEWS = ROOT / "docs" / "views.md"
CLIPS = StreamSettings(batch_size=4, rgb_frames=2, pose_frames=6, workers=0, window_shards=2)


def write_raw(root: Path) -> Path:
    """Five persons (3 is of X-Sub's val), three cameras, two actions, with the lists of both protocols."""
    names = [
        f"S001C{c:03d}P{p:03d}R001A{a:03d}" for c in (1, 2, 3) for p in range(1, 6) for a in ((1, 9) if p < 3 else (1,))
    ]
    annotations = []
    for number, name in enumerate(names):
        keypoints = person(32 + number % 3, seed=number)
        write_recording(root / "videos" / f"{name}_rgb.avi", keypoints, seed=number)
        annotations.append(annotation(name, int(name[-3:]) - 1, keypoints[None]))
    lists: dict[str, list[str]] = {}
    for protocol, rule in READER.protocols.items():
        for name in names:
            lists.setdefault(f"{protocol}_{rule.split_of(READER.name_fields(name))}", []).append(name)
    write_pickle(root / "skeletons.pkl", {"split": lists, "annotations": annotations})
    return root


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same 21 recordings built for X-Sub, for X-View, and once for all protocols."""
    raw, found = write_raw(tmp_path_factory.mktemp("raw")), {}
    for protocol in ("xsub", "xview", "all"):
        found[protocol] = tmp_path_factory.mktemp(protocol)
        plan = BuildPlan(
            dataset="ntu60",
            raw=RawSettings(videos=raw / "videos", skeletons=raw / "skeletons.pkl", protocol=protocol),
            prepare=SMALL,
            shard=ShardSettings(samples_per_shard=4),
            out=found[protocol],
        )
        report = build(plan)
        assert report.num_samples == 21 and not report.problems
    return found


def members(root: Path, view: str, split: str) -> dict[str, dict[str, Any]]:
    """The stored members of each clip of a split; of KEY.json all but the split as built, and its own checksum."""
    manifest, index = load_manifest(root), load_index(root)
    reader, found = ShardReader(root, [shard.name for shard in manifest.shards]), {}
    for row in resolve_view(load_view(view), manifest, index).rows[split].tolist():
        of_clip: dict[str, Any] = reader.read_members(int(index.shard[row]), index.row(row))
        info = json.loads(of_clip["json"])
        of_clip["json"] = {**info, "split": None, "crc32": {**info["crc32"], "json": None}}
        found[index.keys[row].decode()] = of_clip
    reader.close()
    return found


@pytest.mark.parametrize("protocol", ["xsub", "xview"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_one_build_serves_every_protocol(builds: dict[str, Path], protocol: str, split: str) -> None:
    own = members(builds[protocol], "", split)
    for other in builds.values():
        assert members(other, protocol, split) == own
    stream = Stream(builds["all"], split=split, settings=replace(CLIPS, view=protocol), training=False)
    assert {key for batch in stream.epoch() for key in batch.keys} == set(own)


def test_a_build_for_all_protocols_has_no_splits_of_its_own(builds: dict[str, Path]) -> None:
    assert {shard.split for shard in load_manifest(builds["all"]).shards} == {"all"}
    message = r"split 'train' has no sample; the shards hold all; choose a protocol with stream\.view$"
    with pytest.raises(ValueError, match=message):
        Stream(builds["all"], split="train", settings=CLIPS, training=True)
    with pytest.raises(ValueError, match=rf"^{builds['all']}: view\.protocol must be one of xsub, xview for shards"):
        Stream(builds["all"], split="train", settings=replace(CLIPS, view="xset"), training=True)
    with pytest.raises(ValueError, match=r"split 'test' has no sample; the view xsub has train, val$"):
        Stream(builds["all"], split="test", settings=replace(CLIPS, view="xsub"), training=False)


def test_labels_batches_and_balance_are_those_of_the_view(builds: dict[str, Path]) -> None:
    changes = replace(CLIPS, view="xview", balance="class")
    stream = Stream(builds["all"], split="train", settings=changes, training=True)
    assert len(stream) == stream.num_samples // 4
    for batch in stream.epoch(3):
        assert batch.label.tolist() == [int(key[-3:]) - 1 for key in batch.keys]
        assert all(key[5:8] in ("002", "003") for key in batch.keys)


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_are_a_layer(builds: dict[str, Path], tmp_path: Path, workers: int) -> None:
    """Of the classes 0 (drink water) and 8 (standing up), in any process."""
    path, rising = tmp_path / "view.yaml", "standing up (from sitting position)"
    (tmp_path / "labels.csv").write_text("name,label\nS001C002P001R001A009,drink\n")
    classes = dict.fromkeys(load_manifest(builds["all"]).classes) | {"drink water": "drink", rising: "rise"}
    rules = {"labels": "labels.csv", "class_map": classes, "class_names": ["rise", "drink"]}
    path.write_text(json.dumps({**rules, "where": [{"fact": "camera", "any_of": [2]}]}))
    settings = replace(CLIPS, view=str(path), workers=workers, batch_size=1, balance="class")
    with Stream(builds["xview"], split="train", settings=settings, training=True) as stream:
        assert stream.manifest.classes == ("rise", "drink") and stream.manifest.groups == ()
        batches = [batch for epoch in range(4) for batch in stream.epoch(epoch)]
        found = {batch.keys[0]: int(batch.label[0]) for batch in batches}
        assert all(batch.coarse_label[0] == -1 for batch in batches)
    assert found["S001C002P001R001A009"] == 1 and found["S001C002P002R001A009"] == 0
    assert {key for key, label in found.items() if label == 0} == {"S001C002P002R001A009"} and len(found) == 7


def test_a_position_is_of_a_view(builds: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "view.yaml"
    path.write_text("leave_one_out: camera\n")
    here = Stream(builds["all"], split="train", settings=replace(CLIPS, view=str(path)), training=True)
    state = here.state_dict()
    here.load_state_dict(state)
    other = Stream(builds["all"], split="train", settings=replace(CLIPS, view=str(path), fold=1), training=True)
    with pytest.raises(ValueError, match="cannot resume, view_sha256 was "):
        other.load_state_dict(state)
    path.write_text("leave_one_out: camera\nseed: 1\n")  # decides nothing here: the same clips in the same splits
    Stream(builds["all"], split="train", settings=replace(CLIPS, view=str(path)), training=True).load_state_dict(state)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Random rules, ranks, and places to resume at."""
    keep = draw(st.sets(st.integers(0, 52), min_size=12, max_size=53))
    return {
        "train": sorted(f"train-{number}" for number in keep),
        "val": sorted(f"val-{number}" for number in draw(st.sets(st.integers(0, 28), min_size=1, max_size=29))),
        "fraction": draw(st.sampled_from([1, 0.9, 0.6])),
        "world": draw(st.sampled_from([1, 2, 3])),
        "batch_size": draw(st.sampled_from([6, 12])),
        "window_shards": draw(st.integers(1, 4)),
        "epoch": draw(st.integers(0, 3)),
        "resume": draw(st.floats(0, 1)),
        "balance": draw(st.sampled_from(["none", "class"])),
    }


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_the_laws_hold_on_random_views(people_shards: Path, tmp_path: Path, case: dict[str, Any]) -> None:
    lists = {"train": case["train"], "val": case["val"]}
    (tmp_path / "view.yaml").write_text(json.dumps({"names": lists, "fraction": case["fraction"]}))
    clips = replace(
        CLIPS,
        view=str(tmp_path / "view.yaml"),
        batch_size=case["batch_size"],
        window_shards=case["window_shards"],
        balance=case["balance"],
    )

    def keys(training: bool, world: int, consumed: int = 0) -> list[list[str]]:
        """The keys of each rank's batches."""
        split = "train" if training else "val"
        ranks = [
            Stream(people_shards, split=split, settings=clips, training=training, seed=3, rank=rank, world=world)
            for rank in range(world)
        ]
        return [[k for batch in each.epoch(case["epoch"], consumed=consumed) for k in batch.keys] for each in ranks]

    (whole,) = keys(True, 1)
    parts = keys(True, case["world"])
    together = [key for step in zip(*parts, strict=True) for key in step]
    assert together == whole and len(whole) % case["batch_size"] == 0, "neither ranks nor their number change the order"
    kept = resolve_view(load_view(clips.view), load_manifest(people_shards), load_index(people_shards)).rows["train"]
    names = {key.decode() for key in load_index(people_shards).keys[kept]}
    assert set(whole) <= names <= set(case["train"])
    if case["balance"] == "none":
        assert len(set(whole)) == len(whole) == len(names) // case["batch_size"] * case["batch_size"]
    consumed = int(case["resume"] * (len(whole) // case["batch_size"])) * case["batch_size"]
    assert keys(True, 1, consumed) == [whole[consumed:]]
    evaluated = [key for part in keys(False, case["world"]) for key in part]
    assert sorted(evaluated) == case["val"]


def test_no_video_is_opened_and_no_shard_is_written(builds: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in builds["all"].iterdir()}
    for split in ("train", "val"):
        list(Stream(builds["all"], split=split, settings=replace(CLIPS, view="xview"), training=False).epoch())
    assert {path: path.stat().st_mtime_ns for path in builds["all"].iterdir()} == before
    assert json.loads((builds["all"] / MANIFEST).read_text())["protocol"] == "all"
    assert np.array_equal(load_index(builds["all"]).label, [int(k[-3:]) - 1 for k in load_index(builds["all"]).keys])


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```", VIEWS.read_text("utf-8"), re.MULTILINE | re.DOTALL))
def test_examples_of_the_document(builds: dict[str, Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "view.yaml").write_text(text)
    (tmp_path / "labels.csv").write_text("name,label\nS001C001P001R001A001,sitting\nS001C001P002R001A009,standing\n")
    clips = replace(CLIPS, view=str(tmp_path / "view.yaml"), batch_size=1)
    for split in ("train", "val"):
        stream = Stream(builds["all"], split=split, settings=clips, training=split == "train")
        assert 0 < stream.num_samples == len(list(stream.epoch()))
