"""A video is found by the name of its clip; where there is none, what lies there is said."""

import os
import re
from pathlib import Path

import pytest

from epam_data.readers import videos
from epam_data.readers.videos import VideoFinder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = ("a_rgb.avi", "a.mp4", "b.mp4", "train/c.mp4", "d.avi", "train/d.avi", "x_rgb.mp4")
    for name in (*files, "wave/001.mp4", "bow/001.mp4", "挥手/一.avi", "2024-05-01T10:30:00/t.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a", "a_rgb.avi"),
        ("b", "b.mp4"),
        ("train/c", "train/c.mp4"),
        ("train/b", "b.mp4"),
        ("train/d", "train/d.avi"),
        ("d", "d.avi"),
        ("x_rgb", "x_rgb.mp4"),
        ("wave/001", "wave/001.mp4"),
        ("bow/001", "bow/001.mp4"),
        ("挥手/一", "挥手/一.avi"),
        ("2024-05-01T10:30:00/t", "2024-05-01T10:30:00/t.mp4"),
        ("c", None),
        ("nowhere/x", "x_rgb.mp4"),
        ("wave/001.mp4", "wave/001.mp4"),
        ("wave/001.avi", "wave/001.mp4"),
        ("wave/001.mov", "wave/001.mp4"),
        ("x.MP4", "x_rgb.mp4"),
        ("wave/001.txt", None),
        ("nowhere/y", None),
    ],
)
def test_it_is_found_by_name_in_the_folder_then_in_the_root(folder: Path, name: str, found: str | None) -> None:
    assert VideoFinder(folder).find(name) == found


@pytest.mark.parametrize(
    ("lies", "text"),
    [
        ("clip.MP4", "clip.MP4 is there: rename or convert it to clip.mp4 or clip.avi"),
        ("clip_rgb.AVI", "clip_rgb.AVI is there: rename or convert it to clip.mp4 or clip.avi"),
        ("clip.mov", "clip.mov is there: rename or convert it to clip.mp4 or clip.avi"),
        ("train/clip.mkv", "train/clip.mkv is there: rename or convert it to clip.mp4 or clip.avi"),
        ("train/clip/0001.jpg", "train/clip is a folder: frames as pictures are not read, only videos"),
        ("other.mp4", "expected clip.avi, clip.mp4, or with _rgb before the ending, in train or the video folder"),
        ("CLIP.mp4", "CLIP.mp4 is there: rename or convert it to clip.mp4 or clip.avi"),
        ("Clip_RGB/0001.jpg", "Clip_RGB is a folder: frames as pictures are not read, only videos"),
        ("bow/clip.mp4", "bow/clip.mp4 is there: move it to the video folder, or put its folder into the clip's name"),
        (
            "bow/left/clip.MKV",
            "bow/left/clip.MKV is there: move it to the video folder, or put its folder into the cli",
        ),
        ("clip", "expected clip.avi, clip.mp4, or with _rgb before the ending, in train or the video folder"),
        ("clip.json", "expected clip.avi, clip.mp4, or with _rgb before the ending, in train or the video folder"),
    ],
)
def test_what_lies_there_instead_is_said(tmp_path: Path, lies: str, text: str) -> None:
    (tmp_path / lies).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / lies).touch()
    finder = VideoFinder(tmp_path)
    assert finder.find("train/clip") is None
    assert finder.describe_absence("train/clip").startswith(text)


def test_a_name_with_its_ending_is_told_without(tmp_path: Path) -> None:
    (tmp_path / "a.mov").touch()
    finder = VideoFinder(tmp_path)
    assert finder.find("a.mov") is None
    assert finder.describe_absence("a.mov") == "a.mov is there: rename or convert it to a.mp4 or a.avi"
    assert finder.describe_absence("e/b.mp4").startswith(
        "expected b.avi, b.mp4, or with _rgb before the ending, in e or"
    )


def test_what_lies_near_comes_first(tmp_path: Path) -> None:
    for name in ("bow/clip.mp4", "clip.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert VideoFinder(tmp_path).describe_absence("clip").startswith("clip.mov is there: rename")


def test_a_large_tree_is_searched_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "a7.mp4").touch()
    assert VideoFinder(tmp_path).describe_absence("a7").startswith("b/c/a7.mp4 is there")
    monkeypatch.setattr(videos, "_MOST_ENTRIES", 1)
    assert VideoFinder(tmp_path).describe_absence("a7").startswith("expected a7.avi")


def test_a_root_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"video\xff")
    try:
        root.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (root / "a.mp4").touch()
    assert VideoFinder(root).find("a") == "a.mp4"


def test_an_absent_root_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path / 'none'}: no such folder, expected the videos"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VideoFinder(tmp_path / "none")
