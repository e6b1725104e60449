"""The two pickle layouts, and what becomes of a bad annotation."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epam_data.readers.annotations import RawSettings, read_clips, read_splits, skeleton_files
from epam_data.readers.records import Annotation, as_label
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


def shared_lists(depth: int) -> Any:
    """A list of 2 ** depth numbers, in a few bytes."""
    value: Any = 1.0
    for _ in range(depth):
        value = [value, value]
    return value


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


def test_a_second_annotation_of_a_name_is_a_problem(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a", "a"], xsub_train=["a"])
    (_, first), (_, second) = read_splits(raw)
    assert not isinstance(first, Problem) and first["frame_dir"] == "a"
    assert second == Problem(
        name="a", split="train", action="skipped", reason="a: annotated twice; the first annotation is used"
    )


def test_a_name_annotated_for_two_splits_is_refused(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_pickle(tmp_path / f"x_{split}.pkl", [annotation("a", 0, KEYPOINTS)])
    with pytest.raises(ValueError, match=r"^x_val\.pkl: a is annotated for the splits train and val$"):
        list(read_splits(raw_settings(tmp_path)))


def test_a_name_in_two_splits_is_refused(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a", "b"], xsub_train=["a", "b"], xsub_val=["b"])
    with pytest.raises(ValueError, match=r"^all\.pkl: b is listed in the splits train and val$"):
        list(read_splits(raw))


def test_an_unknown_protocol_lists_what_there_is(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a"], xview_val=["a"], xview_train=[])
    message = "all.pkl: no split of protocol 'xsub'; the file has xview_train, xview_val"
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
        ("all.pkl", {"split": 5, "annotations": []}, "all.pkl: split must be a dict, got int"),
        ("all.pkl", {"split": None, "annotations": []}, "all.pkl: split must be a dict, got NoneType"),
        ("all.pkl", {"split": {"train": []}, "annotations": {}}, "all.pkl: annotations must be a list, got dict"),
        (
            "all.pkl",
            {"split": {"train": 7}, "annotations": []},
            "all.pkl: split train must be a list of names, got int",
        ),
        ("all.pkl", {"split": {1: []}, "annotations": []}, "all.pkl: no split of protocol None; the file has 1"),
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
        ({"img_shape": (1080,)}, "a/clip: img_shape must be (H, W), got (1080,)"),
        ({"img_shape": ("a", "b")}, "a/clip: img_shape must be (H, W), got ('a', 'b')"),
        ({"img_shape": 1080}, "a/clip: img_shape must be (H, W), got 1080"),
        ({"img_shape": (0, 5)}, "clip: image_size must be (H, W) from 1 to 65535, got (0, 5)"),
        ({"img_shape": (2**31, 5)}, "clip: image_size must be (H, W) from 1 to 65535, got (2147483648, 5)"),
        ({"img_shape": (float("inf"), 5)}, "a/clip: img_shape must be (H, W), got (inf, 5)"),
        ({"img_shape": (1.5, 5)}, "a/clip: img_shape must be (H, W), got (1.5, 5)"),
        ({"img_shape": "12"}, "a/clip: img_shape must be (H, W), got '12'"),
        ({"img_shape": (1, 2, 3)}, "a/clip: img_shape must be (H, W), got (1, 2, 3)"),
        ({"img_shape": (True, 5)}, "a/clip: img_shape must be (H, W), got (True, 5)"),
        ({"img_shape": (10**5000, 5)}, "a/clip: img_shape must be (H, W), got a tuple"),
        ({"img_shape": np.array([96, 128], "m8[s]")}, "a/clip: img_shape must be (H, W), got ndarray([ 96, 128]"),
        ({"img_shape": np.array([[96], [128]])}, "a/clip: img_shape must be (H, W), got ndarray([[ 96], [128]])"),
        ({"img_shape": shared_lists(60)}, "a/clip: img_shape must be (H, W), got [[[["),
        ({"keypoint": shared_lists(60)}, "a/clip: keypoint must be an array, got lists nested too deeply or too long"),
        ({"keypoint": [[1.0], [1.0, 2.0]]}, "a/clip: keypoint must be an array, got nested lists of different lengths"),
        ({"keypoint": KEYPOINTS.astype(np.complex64)}, "a/clip: keypoint must hold numbers, got complex64"),
        ({"keypoint": KEYPOINTS.astype("i8").astype("M8[s]")}, "a/clip: keypoint must hold numbers, got datetime64"),
        ({"keypoint": 3.0}, "clip: keypoints must be (M, T, V, 2), got ()"),
        ({"keypoint": "text"}, "a/clip: keypoint must hold numbers, got str"),
        ({"keypoint": [[[["x" * 100_000] * 2] * 1000]]}, "a/clip: keypoint must hold numbers, got str"),
        ({"keypoint": {"x": 1}}, "a/clip: keypoint must hold numbers, got dict"),
        ({"keypoint": [KEYPOINTS] * 100_000}, "a/clip: keypoint must be an array, got lists nested too deeply or too"),
        ({"keypoint": np.zeros((1, 5, 17), "f4,f4")}, "a/clip: keypoint must hold numbers, got object"),
        ({"keypoint": np.array([None])}, "a/clip: keypoint must hold numbers, got object"),
        ({"keypoint_score": np.array(["x"])}, "a/clip: keypoint_score must hold numbers, got <U1"),
        ({"keypoint": KEYPOINTS[0]}, "clip: keypoints must be (M, T, V, 2), got (5, 17, 2)"),
        (
            {"keypoint_score": np.ones((1, 4, 17))},
            "clip: scores must be (M, T, V) = (1, 5, 17), got (1, 4, 17)",
        ),
        ({"frame_dir": "../x"}, "'../x': a name must stay inside the video folder, got a path that leaves it"),
        (
            {"frame_dir": "k" * 81},
            f"{'k' * 40}...: its key has 81 characters, at most 80; give the clip a shorter frame_",
        ),
    ],
)
def test_a_bad_annotation_is_a_problem_with_its_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    name = str({"frame_dir": "a/clip", **changes}["frame_dir"])
    result = read_one(tmp_path, **changes)
    assert isinstance(result, Problem) and result.reason.startswith(reason) and len(result.reason) < 250
    assert (result.name, result.split, result.action) == (name, "train", "skipped")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "frame_dir must be text, got NoneType"),
        (["a"], "frame_dir must be text, got list"),
        ({}, "frame_dir must be text, got dict"),
        (5, "frame_dir must be text, got int"),
        ("", "'': frame_dir must have 1 to 1024 characters, got 0"),
        ("x" * 100_000, f"'{'x' * 40}': frame_dir must have 1 to 1024 characters, got 100000"),
        ("\ud800/a", "'\\ud800/a': frame_dir holds half of a character (a lone surrogate)"),
        ("a\nb", "'a\\nb': frame_dir holds a control character"),
        ("a\0", "'a\\x00': frame_dir holds a control character"),
        ("\x1b[2Ja", "'\\x1b[2Ja': frame_dir holds a control character"),
    ],
)
@pytest.mark.parametrize("layout", ["list", "split lists"])
def test_a_record_without_a_usable_name_costs_itself(tmp_path: Path, layout: str, name: Any, reason: str) -> None:
    records = [annotation("good", 0, KEYPOINTS), {**annotation("b", 0, KEYPOINTS), "frame_dir": name}, 3]
    content: Any = records if layout == "list" else {"split": {"train": ["good"]}, "annotations": records}
    path = tmp_path / "set_train.pkl"
    path.write_bytes(pickle.dumps(content))
    first, second, third = read_clips(raw_settings(path), label_of)
    assert isinstance(first, Clip) and isinstance(second, Problem) and isinstance(third, Problem)
    assert second.reason == f"set_train.pkl: annotation 1: {reason}"
    assert third.reason == "set_train.pkl: annotation 2: must be a dict, got int"


def read_split(folder: Path, split: Any) -> list[Clip | Problem]:
    content = {"split": {"train": split}, "annotations": [annotation("good", 0, KEYPOINTS)]}
    return list(read_clips(raw_settings(write_pickle(folder / "all.pkl", content)), label_of))


@pytest.mark.parametrize("split", [("good",), {"good"}, np.array(["good"]), np.array(["good"], object)])
def test_the_names_of_a_split_may_be_any_list(tmp_path: Path, split: Any) -> None:
    (clip,) = read_split(tmp_path, split)
    assert isinstance(clip, Clip)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (["a"], "frame_dir must be text, got list"),
        ({}, "frame_dir must be text, got dict"),
        (None, "frame_dir must be text, got NoneType"),
        (b"good", "frame_dir must be text, got bytes"),
        ("a\n", "'a\\n': frame_dir holds a control character"),
    ],
)
def test_an_entry_of_a_split_that_is_no_name_costs_itself(tmp_path: Path, entry: Any, reason: str) -> None:
    problem, clip = read_split(tmp_path, ["good", entry])
    assert isinstance(clip, Clip) and isinstance(problem, Problem)
    assert (problem.name, problem.split, problem.action) == ("all.pkl: train, name 1", "train", "skipped")
    assert problem.reason == f"all.pkl: train, name 1: {reason}"


@pytest.mark.parametrize(
    ("split", "kind"),
    [
        (np.array("good"), "an array of str128 and shape ()"),
        (np.array([["good"]]), "an array of str128 and shape (1, 1)"),
        (np.array([b"good"]), "an array of bytes32 and shape (1,)"),
        (np.array([1.0]), "an array of float64 and shape (1,)"),
        (np.array(["good", 5], object), "an array of object and shape (0, 0)"),
        ({"good": 1}, "dict"),
        ("good", "str"),
    ],
)
def test_a_split_that_is_no_list_of_names_is_refused(tmp_path: Path, split: Any, kind: str) -> None:
    """Else its clips would be missing without a word."""
    message = f"all.pkl: split train must be a list of names, got {kind}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_split(tmp_path, split)


def without_ending(name: str) -> str:
    return name.removesuffix("_rgb")


@pytest.mark.parametrize("layout", ["list", "split lists"])
def test_one_name_in_two_spellings_is_one_name(tmp_path: Path, layout: str) -> None:
    records = [annotation(name, 0, KEYPOINTS) for name in ("a_rgb", "a", "b_rgb")]
    content: Any = records if layout == "list" else {"split": {"train": ["a", "b"]}, "annotations": records}
    raw = raw_settings(write_pickle(tmp_path / "set_train.pkl", content))
    first, second, third = read_clips(raw, label_of, canonical=without_ending)
    assert isinstance(first, Clip) and isinstance(second, Problem) and isinstance(third, Clip)
    assert (first.name, third.name) == ("a", "b")
    assert second.reason == "a: annotated twice; the first annotation is used"


def test_one_name_in_two_splits_and_two_spellings_is_refused(tmp_path: Path) -> None:
    raw = split_pickle(tmp_path, ["a"], xsub_train=["a"], xsub_val=["a_rgb"])
    with pytest.raises(ValueError, match=r"^all\.pkl: a is listed in the splits train and val$"):
        list(read_splits(raw, without_ending))


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (None, "the annotation lacks a label"),
        ("3", "label must be an integer, got '3'"),
        (float("nan"), "label must be an integer, got nan"),
        (float("inf"), "label must be an integer, got inf"),
        (np.array([0, 1]), "label must be an integer, got array([0, 1])"),
        (10**5000, "label must be from 0 to 2147483647, got a number outside"),
        (-1, "label must be from 0 to 2147483647, got a number outside"),
        (shared_lists(60), "label must be an integer, got [[[["),
    ],
    ids=["absent", "text", "nan", "inf", "array", "huge", "negative", "shared lists"],
)
def test_a_label_is_an_integer(label: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^a: {re.escape(reason)}"):
        as_label({"frame_dir": "a", "label": label})


def test_raw_scores_are_limited_and_noted(tmp_path: Path) -> None:
    path = write_pickle(
        tmp_path / "x_val.pkl", [annotation("a", 0, KEYPOINTS, keypoint_score=np.full((1, 5, 17), 7.5))]
    )
    note, clip = read_clips(raw_settings(path), label_of)
    assert isinstance(note, Problem) and note.action == "mended"
    assert note.reason == "a: scores up to 7.5 are no confidences and were limited to 1"
    assert isinstance(clip, Clip) and clip.scores.max() == 1


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


class Emptied:
    """Pickles as an array without bytes, of any shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        function, arguments, _ = np.zeros(0, np.float32).__reduce__()
        self.call = function, arguments, (1, shape, np.dtype(np.float32), False, b"")

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("shape", [(0, 10**15, 17), (10**15, 0, 17), (1, 2**31, 0)])
def test_an_array_without_numbers_has_no_size_beyond_the_store(tmp_path: Path, shape: tuple[int, ...]) -> None:
    result = read_one(tmp_path, keypoint=Emptied((*shape, 2)), keypoint_score=Emptied(shape))
    assert isinstance(result, Problem)
    sizes = re.escape(str((*shape, 2)))
    assert re.fullmatch(rf"clip: keypoints must be of at most 2147483647 persons, .* got {sizes}", result.reason)
