"""A video is found by its clip's name; if it is not, what lies there in its place is said."""

import os
import re
from pathlib import Path

import pytest

from epam_data.readers import videos
from epam_data.readers.videos import VideoFinder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train").mkdir()
    for name in ("a_rgb.avi", "a.mp4", "b.mp4", "train/c.mp4", "d.avi", "train/d.avi", "e.mkv"):
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
        ("c", None),
        ("e", None),
        ("nowhere/x", None),
    ],
)
def test_it_finds_by_name_in_the_folder_then_in_the_root(folder: Path, name: str, found: str | None) -> None:
    assert VideoFinder(folder).find(name) == found


def test_an_absent_root_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path / 'none'}: no such folder, expected the videos"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VideoFinder(tmp_path / "none")


def test_a_name_may_end_in_rgb_already(folder: Path) -> None:
    assert VideoFinder(folder).find("a_rgb") == "a_rgb.avi"


def test_videos_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("wave", "bow"):
        touch(tmp_path / name / "001.mp4")
    finder = VideoFinder(tmp_path)
    assert (finder.find("wave/001"), finder.find("bow/001"), finder.find("001")) == (
        "wave/001.mp4",
        "bow/001.mp4",
        None,
    )


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


EXPECTED = "no video found, expected NAME_rgb.avi, NAME_rgb.mp4, NAME.avi or NAME.mp4; there is "


@pytest.mark.parametrize(
    ("files", "there"),
    [
        (["a7.MP4"], "NAME.MP4"),
        (["a7_rgb.AVI"], "NAME_rgb.AVI"),
        (["A7.mp4"], "A7.mp4"),
        (["a7.mov", "a7.mkv"], "NAME.mkv, NAME.mov"),
        (["a7.mov", "a7.mkv", "a7.webm", "b.mov"], "NAME.mkv, NAME.mov and 1 more"),
        (["a7/img_00001.jpg"], "NAME, a folder of frames, which must be joined to a video"),
        (["a7.frames/1.PNG"], "NAME.frames, a folder of frames, which must be joined to a video"),
        (["a7/notes.txt"], "NAME, a folder"),
        (["wave/a7.mp4"], "NAME.mp4 in the folder wave"),
        (["wave/left/a7.mp4", "bow/a7_rgb.avi"], "NAME_rgb.avi in the folder bow, NAME.mp4 in the folder wave/left"),
        (["train/a7.mov", "wave/a7.mp4"], "NAME.mov in the folder train"),
    ],
)
def test_what_lies_there_instead_is_said(tmp_path: Path, files: list[str], there: str) -> None:
    for file in files:
        touch(tmp_path / file)
    finder = VideoFinder(tmp_path)
    name = "train/a7" if files[0].startswith("train/") else "a7"
    assert finder.find(name) is None
    assert finder.why_absent(name) == EXPECTED + there


def test_a_name_with_rgb_is_like_one_without(tmp_path: Path) -> None:
    touch(tmp_path / "a7.mp4")
    assert VideoFinder(tmp_path).why_absent("a7_rgb") == f"{EXPECTED}a7.mp4"


def test_where_nothing_like_it_lies_there_is_nothing_to_say(folder: Path) -> None:
    for name in ("f", "train/x", "nowhere/x"):
        assert VideoFinder(folder).why_absent(name) == "no video found"


def test_a_large_tree_is_searched_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "b" / "c" / "a7.mp4")
    assert VideoFinder(tmp_path).why_absent("a7").endswith("NAME.mp4 in the folder b/c")
    monkeypatch.setattr(videos, "_MOST_ENTRIES", 1)
    assert VideoFinder(tmp_path).why_absent("a7") == "no video found"


def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"video\xff")
    try:
        touch(root / "a.mp4")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert VideoFinder(root).find("a") == "a.mp4"
