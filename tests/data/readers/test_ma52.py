"""MA-52: one list pickle per split, labels as they stand, none for the test split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epam_data.readers.annotations import RawSettings
from epam_data.readers.ma52 import READER, read_ma52
from epam_data.schema import Clip, Problem
from epam_data.skeleton import MA52_28
from tests.data.raw_data import annotation, person, write_pickle

KEYPOINTS = person(4, 28)[None].astype(np.float16)


def test_three_splits_of_clips(ma52_raw: Path) -> None:
    clips = list(read_ma52(RawSettings(videos=ma52_raw, skeletons=ma52_raw)))
    assert all(isinstance(clip, Clip) for clip in clips)
    assert [(clip.split, clip.label) for clip in clips if isinstance(clip, Clip)] == [
        *(("train", label) for label in (0, 7, 14, 21)),
        *(("val", label) for label in (0, 7)),
        *(("test", None) for _ in range(2)),
    ]
    assert clips[0].name == "train/0005_01_0001"


@pytest.mark.parametrize("label", ["3", 2.5, [3]])
def test_a_label_that_is_no_integer_is_a_problem(tmp_path: Path, label: Any) -> None:
    fields = annotation("train/0001_01_0001", 0, KEYPOINTS) | {"label": label}
    path = write_pickle(tmp_path / "MA52_train.pkl", [fields])
    (problem,) = read_ma52(RawSettings(videos=tmp_path, skeletons=path))
    assert isinstance(problem, Problem) and problem.action == "skipped"
    assert problem.reason == f"train/0001_01_0001: label must be an integer, got {label!r}"


def test_an_absent_label_is_a_problem_but_for_the_test_split(tmp_path: Path) -> None:
    for split in ("val", "test"):
        path = write_pickle(tmp_path / f"MA52_{split}.pkl", [annotation("a", None, KEYPOINTS, keypoint_score=None)])
        (result,) = read_ma52(RawSettings(videos=tmp_path, skeletons=path))
        if split == "test":
            assert isinstance(result, Clip) and result.label is None
        else:
            assert isinstance(result, Problem) and result.reason == "a: the annotation lacks a label"


def test_the_one_protocol_has_the_published_number_of_clips() -> None:
    assert READER.layout is MA52_28 and len(READER.taxonomy.classes) == 52
    assert READER.protocols.keys() == {None}
    assert READER.protocols[None].num_clips == {"train": 11_250, "val": 5_586, "test": 5_586}
    assert sum(READER.protocols[None].num_clips.values()) == 22_422
