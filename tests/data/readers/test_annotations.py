"""The two pickle layouts, and what becomes of a bad annotation."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epam_data.readers.annotations import Annotation, RawSettings, read_clips, read_splits, skeleton_files
from epam_data.schema import Clip, Problem
from tests.data.raw_data import SMALL_HW, annotation, person, write_pickle

KEYPOINTS = person(5)[None].astype(np.float16)


def raw_settings(skeletons: Path, protocol: str | None = None) -> RawSettings:
    return RawSettings(videos=skeletons.parent, skeletons=skeletons, protocol=protocol)


def split_pickle(folder: Path, names: list[str], **splits: list[str]) -> RawSettings:
    content = {"split": splits, "annotations": [annotation(name, 0, KEYPOINTS) for name in names]}
    return raw_settings(write_pickle(folder / "all.pkl", content), "xsub")


def label_of(split: str, fields: Annotation) -> int:
    return int(fields["label"])


def read_one(folder: Path, label: Callable[..., int | None] = label_of, **changes: Any) -> Clip | Problem:
    """What becomes of one annotation, changed."""
    path = write_pickle(folder / "set_train.pkl", [annotation("a/clip", 2, KEYPOINTS, **changes)])
    (result,) = read_clips(raw_settings(path), label)
    return result


def test_split_lists_choose_and_order_is_the_files(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["d", "a", "c", "b"], xsub_train=["a", "b"], xsub_val=["d"], xview_train=["c"])
    assert [(split, fields["frame_dir"]) for split, fields in read_splits(raw)] == [
        ("val", "d"),
        ("train", "a"),
        ("train", "b"),
    ]


def test_split_lists_without_a_protocol(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "all.pkl", {"split": {"test": ["a"]}, "annotations": [{"frame_dir": "a"}]})
    assert list(read_splits(raw_settings(path))) == [("test", {"frame_dir": "a"})]


def test_a_listed_name_without_an_annotation_is_a_problem(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a"], xsub_train=["a"], xsub_val=["gone"])
    results = dict(read_splits(raw))
    assert results["val"] == Problem(
        name="gone",
        split="val",
        action="skipped",
        reason="gone: listed in split val, but all.pkl has no annotation of that name",
    )


def test_every_annotation_of_a_listed_name_is_read(tmp_path: Path) -> None:
    """Two records of one name must reach the store, which refuses them; the second may not vanish."""
    raw = split_pickle(tmp_path, ["a", "a"], xsub_train=["a"])
    assert [fields["frame_dir"] for _, fields in read_splits(raw)] == ["a", "a"]


def test_a_name_in_two_splits_is_refused(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a", "b"], xsub_train=["a", "b"], xsub_val=["b"])
    with pytest.raises(ValueError, match=r"^all\.pkl: b is listed in the splits train and val$"):
        list(read_splits(raw))


def test_an_unknown_protocol_lists_what_there_is(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a"], xview_val=["a"], xview_train=[])
    message = "all.pkl: no split of protocol 'xsub'; the file has ['xview_train', 'xview_val']"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        list(read_splits(raw))


def test_list_pickles_of_a_folder(tmp_path: Path) -> None:
    for split in ("val", "test", "train"):
        write_pickle(tmp_path / f"MA52_{split}.pkl", [{"frame_dir": split}])
    (tmp_path / "readme.txt").write_text("not a pickle")
    raw = raw_settings(tmp_path)
    assert [path.name for path in skeleton_files(raw)] == ["MA52_train.pkl", "MA52_val.pkl", "MA52_test.pkl"]
    assert [(split, fields["frame_dir"]) for split, fields in read_splits(raw)] == [
        (split, split) for split in ("train", "val", "test")
    ]


def test_a_protocol_chooses_among_the_pickles_of_a_folder(tmp_path: Path) -> None:
    for name in ("ntu60_xsub_train", "ntu60_xsub_val", "ntu60_xview_train", "train"):
        write_pickle(tmp_path / f"{name}.pkl", [])
    found = skeleton_files(raw_settings(tmp_path, "xsub"))
    assert [path.name for path in found] == ["ntu60_xsub_train.pkl", "ntu60_xsub_val.pkl"]


def test_two_pickles_of_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("a_train", "b_train"):
        write_pickle(tmp_path / f"{name}.pkl", [])
    message = f"{tmp_path}: several pickles for split train: ['a_train.pkl', 'b_train.pkl']"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        skeleton_files(raw_settings(tmp_path))


def test_a_folder_without_pickles_is_refused(tmp_path: Path) -> None:
    for protocol, pattern in ((None, "*_{train,val,test}.pkl"), ("xsub", "*_xsub_{train,val,test}.pkl")):
        with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path}: no pickle named {pattern} found')}$"):
            skeleton_files(raw_settings(tmp_path, protocol))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("all.pkl", [], "all.pkl: a list of annotations must be named *_train, *_val or *_test.pkl"),
        ("all.pkl", {"split": {}}, "all.pkl: expected a dict with 'split' and 'annotations' or a list, got dict"),
        ("all.pkl", "text", "all.pkl: expected a dict with 'split' and 'annotations' or a list, got str"),
        ("a_train.pkl", [{}, 3], "a_train.pkl: an annotation must be a dict, got int"),
        ("all.pkl", {"split": {"train": []}, "annotations": [3]}, "all.pkl: an annotation must be a dict, got int"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = write_pickle(tmp_path / name, content)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        list(read_splits(raw_settings(path)))


def test_an_annotation_becomes_a_clip(tmp_path: Path) -> None:
    clip = read_one(tmp_path)
    assert isinstance(clip, Clip)
    assert (clip.key, clip.name, clip.split, clip.label) == ("clip", "a/clip", "train", 2)
    assert clip.image_size == SMALL_HW and clip.video is None
    assert clip.keypoints.dtype == clip.scores.dtype == np.float16
    np.testing.assert_array_equal(clip.keypoints, KEYPOINTS)


@pytest.mark.parametrize(
    ("given", "stored"),
    [(np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float32), (np.int32, np.float32)],
)
def test_float16_stays_and_other_numbers_become_float32(tmp_path: Path, given: type, stored: type) -> None:
    clip = read_one(tmp_path, keypoint=KEYPOINTS.astype(given))
    assert isinstance(clip, Clip)
    assert clip.keypoints.dtype == clip.scores.dtype == stored
    np.testing.assert_array_equal(clip.keypoints, KEYPOINTS.astype(given).astype(stored))


def test_absent_scores_are_ones(tmp_path: Path) -> None:
    clip = read_one(tmp_path, keypoint_score=None)
    assert isinstance(clip, Clip)
    assert clip.scores.dtype == np.float16 and (clip.scores == 1).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keypoint": None}, "a/clip: the annotation lacks keypoint"),
        ({"keypoint": None, "img_shape": None}, "a/clip: the annotation lacks img_shape, keypoint"),
        ({"frame_dir": None}, "None: the annotation lacks frame_dir"),
        ({"img_shape": (1080,)}, "a/clip: img_shape must be (H, W), got (1080,)"),
        ({"img_shape": ("a", "b")}, "a/clip: img_shape must be (H, W), got ('a', 'b')"),
        ({"img_shape": 1080}, "a/clip: img_shape must be (H, W), got 1080"),
        ({"img_shape": (0, 5)}, "clip: image_size must be (H, W) > 0, got (0, 5)"),
        ({"keypoint": "text"}, "a/clip: keypoint must hold numbers, got <U4"),
        ({"keypoint": np.array([None])}, "a/clip: keypoint must hold numbers, got object"),
        ({"keypoint_score": np.array(["x"])}, "a/clip: keypoint_score must hold numbers, got <U1"),
        ({"keypoint": KEYPOINTS[0]}, "clip: keypoints must be (M, T, V, 2), got (5, 17, 2)"),
        (
            {"keypoint_score": np.ones((1, 4, 17))},
            "clip: scores must be (M, T, V) = (1, 5, 17), got (1, 4, 17)",
        ),
        ({"frame_dir": "../x"}, "'../x': a name must stay inside the video folder, got a path that leaves it"),
        ({"frame_dir": "k" * 81}, f"'{'k' * 81}': a key must be 1 to 80 characters of [A-Za-z0-9_-]"),
    ],
)
def test_a_bad_annotation_is_a_problem_with_its_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    name = str({"frame_dir": "a/clip", **changes}["frame_dir"])
    assert read_one(tmp_path, **changes) == Problem(name=name, split="train", action="skipped", reason=reason)


def test_ragged_keypoints_are_a_problem(tmp_path: Path) -> None:
    result = read_one(tmp_path, keypoint=[[1, 2], [3]])
    assert isinstance(result, Problem) and "inhomogeneous" in result.reason


def test_a_bad_label_is_a_problem(tmp_path: Path) -> None:
    def refuse(split: str, fields: Annotation) -> int:
        raise ValueError(f"{fields['frame_dir']}: bad label")

    result = read_one(tmp_path, label=refuse)
    assert isinstance(result, Problem) and result.reason == "a/clip: bad label"


def test_a_bad_clip_does_not_stop_the_next(tmp_path: Path) -> None:
    annotations = [annotation(name, 0, KEYPOINTS) for name in ("a", "b", "c")]
    del annotations[1]["keypoint"]
    path = write_pickle(tmp_path / "x_val.pkl", annotations)
    assert [type(result) for result in read_clips(raw_settings(path), label_of)] == [Clip, Problem, Clip]


def test_excluded_names_are_problems_of_their_own_kind(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a", "b"], xsub_train=["a", "b", "c", "d"])
    results = list(read_clips(raw, label_of, excluded=frozenset({"b", "c"})))
    reason = "on the data set's list of recordings without usable skeletons"
    assert [type(results[0]), *(result.action for result in results[1:] if isinstance(result, Problem))] == [
        Clip,
        "excluded",
        "excluded",
        "skipped",
    ]
    assert results[1] == Problem(name="b", split="train", action="excluded", reason=f"b: {reason}")
