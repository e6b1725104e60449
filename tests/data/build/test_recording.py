from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from epam_data.build.build import build
from epam_data.build.recording import read_recording, recording_shards
from epam_data.readers.pickles import load_pickle
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.show.describe import read_sample
from tests.data.raw_data import ntu60_plan, ntu_name, write_ntu60, write_pickle

NAME = ntu_name(1, 2)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ntu60(tmp_path_factory.mktemp("recording"), num_train=2, num_val=1)


def video(raw: Path) -> Path:
    return raw / "videos" / f"{NAME}_rgb.avi"


def test_a_recording_is_the_sample_that_the_build_makes_of_it(raw: Path, tmp_path: Path):
    """All but the label and the split: nobody knows them of a recording."""
    plan = ntu60_plan(raw, tmp_path / "shards")
    build(plan)
    built, _ = read_sample(tmp_path / "shards", NAME)
    with recording_shards(video(raw), raw / "skeletons.pkl", "ntu60", plan.prepare) as (root, key):
        alone, _ = read_sample(root, key)
        manifest, index = load_manifest(root), load_index(root)
    assert key == NAME and not root.exists()
    for name in ("keypoints", "heatmap", "frames"):
        assert np.array_equal(getattr(alone, name), getattr(built, name))
    assert alone.info == replace(built.info, split="test", label=None, coarse_label=None)
    assert manifest.prepare == load_manifest(tmp_path / "shards").prepare and len(manifest.classes) == 60
    assert index.label.tolist() == [-1] and [shard.split for shard in manifest.shards] == ["test"]


def test_the_annotation_is_the_one_that_is_named_like_the_video(raw: Path, tmp_path: Path):
    annotations = load_pickle(raw / "skeletons.pkl")["annotations"]
    own = next(each for each in annotations if each["frame_dir"] == NAME)
    wanted = np.asarray(own["keypoint"])
    nameless = {name: value for name, value in own.items() if name not in ("frame_dir", "label")}
    for content in (annotations, {"annotations": annotations}, own, [nameless], {**own, "frame_dir": "another"}):
        clip, note = read_recording(video(raw), write_pickle(tmp_path / "s.pkl", content))
        assert note is None and clip.key == NAME and clip.label is None and clip.video == video(raw)
        assert np.array_equal(clip.keypoints, wanted)


def test_what_a_build_records_as_mended_is_told(raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    annotations = load_pickle(raw / "skeletons.pkl")["annotations"]
    own = dict(next(each for each in annotations if each["frame_dir"] == NAME))
    own["frame_dir"] = f"{NAME}_rgb.avi"  # a name with its ending is that of the video, too
    own["keypoint_score"] = np.asarray(own["keypoint_score"]) * 9
    own["img_shape"] = own["img_shape"][::-1]
    skeleton = write_pickle(tmp_path / "s.pkl", [own, *annotations[:1]])
    with recording_shards(video(raw), skeleton, "ntu60", ntu60_plan(raw, tmp_path).prepare):
        pass
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"mended: {NAME}: scores up to ") and first.endswith("were limited to 1")
    assert second.startswith(f"mended: {NAME}: img_shape")


def test_errors(raw: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"absent\.avi: no such video"):
        read_recording(tmp_path / "absent.avi", raw / "skeletons.pkl")
    with pytest.raises(ValueError, match=r"absent\.pkl: no such file, expected a skeleton pickle"):
        read_recording(video(raw), tmp_path / "absent.pkl")
    other = tmp_path / "other.avi"
    other.write_bytes(video(raw).read_bytes())
    with pytest.raises(ValueError, match=r"none of its 3 annotations is named like the video other\.avi"):
        read_recording(other, raw / "skeletons.pkl")
    for content, message in (
        ([], "expected an annotation or a list of them, got list"),
        ("words", "expected an annotation or a list of them, got str"),
        ({"total_frames": 3}, "the annotation lacks img_shape, keypoint"),
    ):
        with pytest.raises(ValueError, match=message):
            read_recording(video(raw), write_pickle(tmp_path / "s.pkl", content))
