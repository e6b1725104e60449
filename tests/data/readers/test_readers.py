"""`dataset: module:NAME`: a reader of one's own is found, builds, and counts among what a build is made from."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from epam_data.build.build import build
from epam_data.build.plan import BuildPlan, ClipLimits
from epam_data.readers import READERS, RawSettings, Reader, find_reader
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.settings import ShardSettings
from epam_data.taxonomy import TAXONOMIES
from tests.data.raw_data import SMALL, person, write_pickle, write_recording

SOURCE = """\
import numpy as np
from epam_data.readers import Reader
from epam_data.readers.pickles import load_pickle
from epam_data.schema import Clip
from epam_data.taxonomy import parse_taxonomy

def read(raw):
    for name, points in load_pickle(raw.skeletons).items():
        yield Clip(key=name, name=name, split="train", label={label}, keypoints=points[None],
                   scores=np.ones((1, *points.shape[:2]), np.float32), image_size=(96, 128))

CLASSES = parse_taxonomy("greetings", {{"arms": {{0: "wave", 1: "bow"}}}})
GREETINGS = Reader(read=read, skeleton="coco17", taxonomy=CLASSES)
NUMBER = 7
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`own_reader.py` in the current folder, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "own_reader.py"
    path.write_text(SOURCE.format(label=1))
    yield path
    sys.modules.pop("own_reader", None)


def own_plan(folder: Path) -> BuildPlan:
    points = {name: person(20, seed=number) for number, name in enumerate(("a", "b"))}
    for number, name in enumerate(points):
        write_recording(folder / "videos" / f"{name}.mp4", points[name], seed=number)
    return BuildPlan(
        dataset="own_reader:GREETINGS",
        raw=RawSettings(videos=folder / "videos", skeletons=write_pickle(folder / "skeletons.pkl", points)),
        prepare=SMALL,
        shard=ShardSettings(samples_per_shard=1),
        out=folder / "shards",
    )


def test_readers_of_the_project_are_found_by_name() -> None:
    assert {name: find_reader(name) for name in READERS} == READERS


def test_a_reader_of_ones_own_builds_shards_that_know_its_classes(module: Path) -> None:
    report = build(own_plan(module.parent))
    assert report.num_samples == 2 and not report.problems
    manifest = load_manifest(module.parent / "shards")
    assert (manifest.dataset, manifest.taxonomy) == ("own_reader:GREETINGS", "greetings")
    assert (manifest.classes, manifest.groups) == (("wave", "bow"), ("arms",))
    assert load_index(module.parent / "shards").label.tolist() == [1, 1]


def test_workers_need_no_reader(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have the path of another folder, or run on a machine that does not have the module."""
    folder = module.parent
    (folder / "scripts").mkdir()
    module.rename(folder / "scripts" / module.name)
    monkeypatch.syspath_prepend(str(folder / "scripts"))
    plan = replace(own_plan(folder), limits=ClipLimits(clip_seconds=61))  # for a fresh process
    report = build(plan)
    assert report.num_samples == 2, report.problems


def test_a_changed_reader_is_another_input(module: Path) -> None:
    """What it read before is in the store: without its source among the inputs, the old labels would be built."""
    plan = own_plan(module.parent)
    build(plan)
    module.write_text(SOURCE.format(label=0))
    with pytest.raises(ValueError, match=r"holds a build of other inputs \(sources\.own_reader\.py: "):
        build(plan)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("kinetics", "^dataset must be one of ntu60, ma52, synthetic, or module:NAME of a reader of your own, got "),
        ("no_such_module:X", "^dataset 'no_such_module:X': no_such_module cannot be imported "),
        ("own_reader:ABSENT", "^dataset 'own_reader:ABSENT': own_reader must hold a Reader ABSENT, got NoneType$"),
        ("own_reader:NUMBER", "^dataset 'own_reader:NUMBER': own_reader must hold a Reader NUMBER, got int$"),
    ],
)
def test_what_is_no_reader_is_refused(module: Path, dataset: str, message: str) -> None:
    assert module.exists()
    with pytest.raises(ValueError, match=message):
        find_reader(dataset)


def test_an_unknown_skeleton_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^skeleton must be one of coco17, ma52_28, got 'kinect25'$"):
        Reader(read=READERS["ntu60"].read, skeleton="kinect25", taxonomy=TAXONOMIES["ntu60"])
