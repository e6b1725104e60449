"""`dataset: module:NAME`: a reader of one's own is found, builds, and counts among what a build is made from."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from epam_data.build.build import build
from epam_data.build.plan import BuildPlan, ClipLimits
from epam_data.check.check import CheckSettings, check
from epam_data.check.report import write_report
from epam_data.cli import main
from epam_data.commands.inspect import InspectCommand, inspect_command
from epam_data.readers import RawSettings, find_reader
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.settings import ShardSettings
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_data.system.executors import ExecutorSettings
from tests.data.raw_data import SMALL, person, write_pickle, write_recording

SOURCE = """\
import numpy as np
from epam_data.readers import Reader
from epam_data.readers.pickles import load_pickle
from epam_data.schema import Clip
from epam_data.skeleton import SkeletonLayout
from epam_data.taxonomy import Taxonomy, parse_taxonomy

def read(raw):
    for name, points in load_pickle(raw.skeletons).items():
        yield Clip(key=name, name=name, split="train", label={label}, keypoints=points[None],
                   scores=np.ones((1, *points.shape[:2]), np.float32), image_size=(96, 128))

CLASSES = parse_taxonomy("greetings", {{"arms": {{0: "wave", 1: "bow"}}}})
GREETINGS = Reader(read=read, skeleton="coco17", taxonomy=CLASSES)
HAND = SkeletonLayout(name="hand", joints=("wrist", "left_tip", "right_tip"), flip_pairs=((1, 2),),
                      limbs=((0, 1), (0, 2)))
PLAIN = Reader(read=read, skeleton=HAND, taxonomy=Taxonomy(name="plain", classes=("wave", "bow")))
NUMBER = 7
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`own_reader.py` in the current folder, which is on the path as with `--allow-code-here`; forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    path = tmp_path / "own_reader.py"
    path.write_text(SOURCE.format(label=1))
    yield path
    sys.modules.pop("own_reader", None)


def own_plan(folder: Path, reader: str = "GREETINGS", num_joints: int = 17, kind: str = "joints") -> BuildPlan:
    points = {name: person(20, num_joints, seed=number) for number, name in enumerate(("a", "b"))}
    for number, name in enumerate(points):
        write_recording(folder / "videos" / f"{name}.mp4", points[name], seed=number)
    return BuildPlan(
        dataset=f"own_reader:{reader}",
        raw=RawSettings(videos=folder / "videos", skeletons=write_pickle(folder / "skeletons.pkl", points)),
        prepare=replace(SMALL, heatmap_kind=kind),
        shard=ShardSettings(samples_per_shard=1),
        out=folder / "shards",
    )


def test_a_reader_of_ones_own_builds_shards_that_know_its_classes(module: Path) -> None:
    report = build(own_plan(module.parent))
    assert report.num_samples == 2 and not report.problems
    manifest = load_manifest(module.parent / "shards")
    assert (manifest.dataset, manifest.taxonomy) == ("own_reader:GREETINGS", "greetings")
    assert (manifest.classes, manifest.groups) == (("wave", "bow"), ("arms",))
    assert load_index(module.parent / "shards").label.tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["joints", "limbs"])
def test_a_layout_of_ones_own_without_groups_goes_from_build_to_batch(module: Path, kind: str) -> None:
    """Shards describe the layout themselves: to check, show and stream them needs no reader."""
    build(own_plan(module.parent, "PLAIN", 3, kind))
    shards = module.parent / "shards"
    manifest = load_manifest(shards)
    sys.modules.pop("own_reader")
    module.unlink()
    assert (manifest.layout.name, manifest.layout.joints) == ("hand", ("wrist", "left_tip", "right_tip"))
    assert (manifest.flip_pairs, manifest.limbs) == (((1, 2),), ((0, 1), (0, 2)))
    assert (manifest.groups, manifest.coarse_of) == ((), ())
    assert load_manifest(shards).to_json() == manifest.to_json()
    report = check(shards, CheckSettings(sample="all", rgb=True), ExecutorSettings(workers=0))
    assert report.findings == () and report.num_deep == 2
    assert any("own_reader:PLAIN is not a built-in data set" in note for note in report.notes)
    write_report(report, module.parent / "report")
    assert inspect_command(InspectCommand(shards=str(shards), key="a", png=module.parent / "a.png")) == 0
    first = load_index(shards).row(0).key
    assert (
        inspect_command(InspectCommand(shards=str(shards / "train-000000.tar"), key=first, png=module.parent / "b.png"))
        == 0
    )
    stream = Stream(
        shards,
        split="train",
        training=True,
        settings=StreamSettings(batch_size=2, rgb_frames=2, pose_frames=4, workers=0),
    )
    batch = stream.read_step(0, 0)
    assert batch.label.tolist() == [1, 1] and batch.coarse_label.tolist() == [-1, -1]
    finisher = BatchFinisher.for_shards(manifest)
    assert finisher.flip_order.tolist() == ([0, 2, 1] if kind == "joints" else [1, 0])
    assert finisher(batch)[1].shape[1] == manifest.num_channels == len(finisher.flip_order)


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
        ("kinetics", "^dataset must be one of ma52, ntu60, synthetic, or module:NAME of a reader of your own, got "),
        ("no_such_module:X", "^dataset 'no_such_module:X': no_such_module cannot be imported "),
        (
            "..planted:READER",
            "^dataset must be one of ma52, ntu60, synthetic, or module:NAME of a reader of your own, got ",
        ),
        ("own_reader:ABSENT", "^dataset 'own_reader:ABSENT': own_reader must define a Reader ABSENT, got NoneType$"),
        ("own_reader:NUMBER", "^dataset 'own_reader:NUMBER': own_reader must define a Reader NUMBER, got int$"),
    ],
)
def test_what_is_no_reader_is_refused(module: Path, dataset: str, message: str) -> None:
    assert module.exists()
    with pytest.raises(ValueError, match=message):
        find_reader(dataset)


@pytest.mark.parametrize("on_path", [None, "", "here"])
def test_the_current_folder_runs_code_only_if_it_is_allowed_to(
    module: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], on_path: str | None
) -> None:
    """Also where `python -m` or an empty entry of PYTHONPATH have put it on the path."""
    others = [folder for folder in sys.path if folder not in ("", str(module.parent))]
    here = {None: [], "": [""], "here": [str(module.parent)]}[on_path]
    monkeypatch.setattr(sys, "path", [*here, *others])
    words = [
        "build",
        "--dataset",
        "own_reader:GREETINGS",
        "--raw.videos",
        "v",
        "--raw.skeletons",
        "s.pkl",
        "--out",
        "o",
    ]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "own_reader cannot be imported (No module named 'own_reader'); to run the code of that name in this" in error
    assert "own_reader" not in sys.modules
    assert main([*words, "--allow-code-here"]) == 2
    assert "own_reader" in sys.modules and "cannot be imported" not in capsys.readouterr().err
    assert sys.path == [*here, *others]
