"""NTU RGB+D 60: names say labels, and the 302 listed recordings are left out."""

import re
from pathlib import Path

import numpy as np
import pytest

from epam_data.readers.annotations import RawSettings
from epam_data.readers.ntu60 import READER, missing_skeletons, read_ntu60
from epam_data.readers.synthetic import read_synthetic
from epam_data.schema import Clip, Problem
from tests.data.raw_data import annotation, person, write_pickle

KEYPOINTS = person(4)[None].astype(np.float16)


def read(folder: Path, annotations: list, reader=read_ntu60) -> list[Clip | Problem]:
    path = write_pickle(folder / "ntu60_xsub_train.pkl", annotations)
    return list(reader(RawSettings(videos=folder, skeletons=path, protocol="xsub")))


# Section 3.2.1 of Shahroudy et al., "NTU RGB+D: A Large Scale Dataset for 3D Human Activity Analysis", CVPR 2016.
OFFICIAL_TRAINING_SUBJECTS = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}


def test_the_training_subjects_of_x_sub_are_the_official_ones() -> None:
    rule = READER.protocols["xsub"]
    assert rule.split_by == "subject"
    for subject in range(1, 41):
        split = rule.split_of(READER.name_fields(f"S001C001P{subject:03d}R001A001"))
        assert split == ("train" if subject in OFFICIAL_TRAINING_SUBJECTS else "val"), subject
    assert rule.split_of({"subject": 41}) is None and rule.split_of({}) is None


def test_cameras_2_and_3_train_in_x_view() -> None:
    rule = READER.protocols["xview"]
    splits = [rule.split_of(READER.name_fields(f"S001C{camera:03d}P001R001A001")) for camera in (1, 2, 3)]
    assert splits == ["val", "train", "train"]


def test_all_protocols_share_the_published_clips() -> None:
    """56,880 recordings, less the 302."""
    assert READER.protocols.keys() == {"xsub", "xview"}
    assert {sum(rule.num_clips.values()) for rule in READER.protocols.values()} == {56_880 - 302}
    assert READER.protocols["xsub"].num_clips["train"] == 40_091
    assert READER.protocols["xview"].num_clips["train"] == 37_646


def test_a_name_says_setup_camera_subject_replication_and_action() -> None:
    fields = {"setup": 17, "camera": 3, "subject": 20, "replication": 2, "action": 60}
    assert READER.name_fields("S017C003P020R002A060") == READER.name_fields("a/b/S017C003P020R002A060") == fields
    for other in ("S017C003P020R002A060_rgb", "xS017C003P020R002A060", "S017C003P020R002A60", ""):
        assert READER.name_fields(other) == {}


def test_the_list_has_302_names() -> None:
    names = missing_skeletons()
    assert len(names) == 302
    assert all(re.fullmatch(r"S0\d\dC00[123]P\d{3}R00[12]A0\d\d", name) for name in names)
    assert "S001C002P005R002A008" in names and "S001C001P001R001A001" not in names


def test_the_label_is_the_action_minus_one(tmp_path: Path) -> None:
    (clip,) = read(tmp_path, [annotation("S017C003P020R002A060", 59, KEYPOINTS)])
    assert isinstance(clip, Clip) and clip.label == 59


@pytest.mark.parametrize(
    ("name", "label", "reason"),
    [
        ("S001C001P001R001A002", 2, "S001C001P001R001A002: the name says label 1, the annotation says 2"),
        ("S001C001P001R001A002", None, "S001C001P001R001A002: the annotation lacks a label"),
        ("S001C001P001R001A02", 1, "S001C001P001R001A02: expected a name like S001C001P001R001A001"),
        ("xS001C001P001R001A002", 1, "xS001C001P001R001A002: expected a name like S001C001P001R001A001"),
    ],
)
def test_a_bad_name_or_label_is_a_problem(tmp_path: Path, name: str, label: int | None, reason: str) -> None:
    fields = annotation(name, 1, KEYPOINTS) | {"label": label}
    assert read(tmp_path, [fields]) == [Problem(name=name, split="train", action="skipped", reason=reason)]


def test_a_name_may_end_as_that_of_its_video(tmp_path: Path) -> None:
    """MMAction2's own script writes the stem of the video; so names the list of excluded recordings too."""
    names = ["S001C001P001R001A002_rgb", "S001C002P005R002A008_rgb"]
    clip, excluded = read(tmp_path, [annotation(name, int(name[17:20]) - 1, KEYPOINTS) for name in names])
    assert isinstance(clip, Clip) and clip.key == clip.name == "S001C001P001R001A002"
    assert isinstance(excluded, Problem) and excluded.action == "excluded"


def test_a_name_may_hold_a_folder(tmp_path: Path) -> None:
    (clip,) = read(tmp_path, [annotation("a/b/S001C001P001R001A002", 1, KEYPOINTS)])
    assert isinstance(clip, Clip) and clip.key == "S001C001P001R001A002"


def test_a_name_that_leaves_the_folder_is_a_problem(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, [annotation("../S001C001P001R001A002", 1, KEYPOINTS)])
    assert isinstance(problem, Problem) and "a name must stay inside the video folder" in problem.reason


def test_all_listed_recordings_are_excluded_and_counted(tmp_path: Path) -> None:
    names = sorted(missing_skeletons())
    content = {
        "split": {"xsub_train": [*names, "S001C001P001R001A001"], "xsub_val": []},
        "annotations": [annotation(name, int(name[-3:]) - 1, KEYPOINTS) for name in names[:7]]
        + [annotation("S001C001P001R001A001", 0, KEYPOINTS)],
    }
    path = write_pickle(tmp_path / "ntu60.pkl", content)
    results = list(read_ntu60(RawSettings(videos=tmp_path, skeletons=path, protocol="xsub")))
    excluded = [result for result in results if isinstance(result, Problem)]
    assert len(excluded) == 302 and {problem.action for problem in excluded} == {"excluded"}
    assert sorted(problem.name for problem in excluded) == names
    assert [result.name for result in results if isinstance(result, Clip)] == ["S001C001P001R001A001"]


def test_the_synthetic_set_leaves_nothing_out(tmp_path: Path) -> None:
    listed = annotation("S001C002P005R002A008", 7, KEYPOINTS)
    (clip,) = read(tmp_path, [listed], read_synthetic)
    assert isinstance(clip, Clip) and clip.label == 7
    (problem,) = read(tmp_path, [listed])
    assert isinstance(problem, Problem) and problem.action == "excluded"


def test_a_listed_recording_is_left_out_in_any_folder(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, [annotation("nturgb/S001C002P005R002A008", 7, KEYPOINTS)])
    assert isinstance(problem, Problem) and problem.action == "excluded"
