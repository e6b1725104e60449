"""Keys, and the value objects' checks of themselves."""

import re
from typing import Any

import numpy as np
import pytest

from epam_data.schema import (
    SCHEMA_VERSION,
    Clip,
    Sample,
    check_key,
    check_version,
    label_from_stored,
    stored_label,
)
from tests.data.raw_data import make_sample, sample_info


@pytest.mark.parametrize("key", ["", "k" * 81, "a.b", "a b", "a/b", "é", "a\n"])
def test_a_bad_key_is_refused(key: str) -> None:
    message = f"{key!r}: a key must be 1 to 80 characters of [A-Za-z0-9_-]"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_key(key)


CLIP: dict[str, Any] = {
    "key": "S001C001P001R001A001",
    "name": "S001C001P001R001A001",
    "split": "train",
    "label": 0,
    "keypoints": np.zeros((2, 103, 17, 2), np.float16),
    "scores": np.zeros((2, 103, 17), np.float16),
    "image_size": (1080, 1920),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "a/b"}, "'a/b': a key must be 1 to 80 characters of [A-Za-z0-9_-]"),
        ({"split": "dev"}, "S001C001P001R001A001: split must be one of train, val, test, all, got 'dev'"),
        ({"label": -1}, "S001C001P001R001A001: label must be None or 0..2147483647, got -1"),
        (
            {"keypoints": np.zeros((103, 17, 2), np.float16)},
            "S001C001P001R001A001: keypoints must be (M, T, V, 2), got (103, 17, 2)",
        ),
        (
            {"keypoints": np.zeros((2, 103, 17, 3), np.float16)},
            "S001C001P001R001A001: keypoints must be (M, T, V, 2), got (2, 103, 17, 3)",
        ),
        (
            {"keypoints": np.zeros((2, 103, 17, 2), np.float64)},
            "S001C001P001R001A001: keypoints must be float16 or float32, got float64",
        ),
        (
            {"scores": np.zeros((2, 102, 17), np.float16)},
            "S001C001P001R001A001: scores must be (M, T, V) = (2, 103, 17), got (2, 102, 17)",
        ),
        (
            {"scores": np.zeros((2, 103, 17), np.float32)},
            "S001C001P001R001A001: scores must be float16 like the keypoints, got float32",
        ),
        ({"image_size": (0, 1920)}, "S001C001P001R001A001: image_size must be (H, W) from 1 to 65535, got (0, 1920)"),
    ],
)
def test_a_clip_checks_itself(changes: dict[str, Any], message: str) -> None:
    assert Clip(**CLIP).video is None
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Clip(**{**CLIP, **changes})


def test_a_hidden_label_is_none() -> None:
    assert Clip(**{**CLIP, "label": None}).label is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("keypoints", np.zeros((1, 5, 17, 3), np.float16), "keypoints must be (M, 6, V, 3), got (1, 5, 17, 3)"),
        ("keypoints", np.zeros((1, 6, 17, 2), np.float16), "keypoints must be (M, 6, V, 3), got (1, 6, 17, 2)"),
        ("heatmap", np.zeros((5, 17, 8, 8), np.uint8), "heatmap must be (6, V, 8, 8), got (5, 17, 8, 8)"),
        ("heatmap", np.zeros((6, 17, 8, 9), np.uint8), "heatmap must be (6, V, 8, 8), got (6, 17, 8, 9)"),
        ("heatmap", np.zeros((6, 17, 8, 8), np.float32), "heatmap must be uint8, got float32"),
        ("frames", np.zeros((6, 16, 17, 3), np.uint8), "frames must be (6, 16, 16, 3), got (6, 16, 17, 3)"),
        ("frames", np.zeros((6, 16, 16, 3), np.int16), "frames must be uint8, got int16"),
    ],
)
def test_a_sample_checks_itself(field: str, value: np.ndarray, message: str) -> None:
    sample = make_sample()
    fields = {"keypoints": sample.keypoints, "heatmap": sample.heatmap, "frames": sample.frames, field: value}
    with pytest.raises(ValueError, match=f"^{re.escape(f'clip-1: {message}')}$"):
        Sample(info=sample.info, **fields)


@pytest.mark.parametrize("box", [(10, 12, 10, 70), (10, 12, 60, 3)])
def test_a_box_without_an_inside_is_refused(box: tuple[int, int, int, int]) -> None:
    message = f"clip-1: box must be (x1, y1, x2, y2) with x2 > x1 and y2 > y1, got {box}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        sample_info(box=box)


@pytest.mark.parametrize("version", [None, 0, 2, "1", True])
def test_another_version_is_refused(version: object) -> None:
    check_version(SCHEMA_VERSION, "shards")
    message = f"shards: shard schema {version!r} cannot be read, this code reads 1..1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_version(version, "shards")


@pytest.mark.parametrize("label", [None, 0, 51])
def test_a_stored_label_comes_back(label: int | None) -> None:
    assert label_from_stored(stored_label(label)) == label
