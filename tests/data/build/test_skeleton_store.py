"""The skeleton store gives back each clip, bit by bit, and gives each a key of its own."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from epam_data.build import skeleton_store as store_module
from epam_data.build.skeleton_store import SkeletonStore, stored_sources, write_store
from epam_data.schema import Clip, Problem

SOURCES = {"all.pkl": "abc", "dataset": "ntu60"}


def make_clip(number: int, **changes: object) -> Clip:
    rng = np.random.default_rng(number)
    dtype = np.float16 if number % 3 else np.float32
    shape = (number % 4, 1 + number % 7, 17 if number % 2 else 28)
    values = {
        "key": f"clip-{number}",
        "name": f"folder/clip {number} ü",
        "split": ("train", "val", "test")[number % 3],
        "label": None if number % 5 == 0 else number,
        "keypoints": rng.normal(0, 500, (*shape, 2)).astype(dtype),
        "scores": rng.uniform(0, 1, shape).astype(dtype),
        "image_size": (100 + number, 200),
    }
    return Clip(**{**values, **changes})


PROBLEM = Problem(name="ü", split="train", action="skipped", reason="no \x00 reason")


def assert_same_clip(one: Clip, other: Clip) -> None:
    for name in ("key", "name", "split", "label", "image_size"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("keypoints", "scores"):
        assert getattr(one, name).dtype == getattr(other, name).dtype
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("clips_per_piece", [1, 4, 1024])
def test_every_clip_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips_per_piece: int) -> None:
    monkeypatch.setattr(store_module, "_CHUNK_CLIPS", clips_per_piece)
    clips = [make_clip(number) for number in range(11)]
    clips[4].keypoints[:] = np.nan
    write_store(tmp_path / "s.h5", [*clips[:3], PROBLEM, *clips[3:]], SOURCES)
    with SkeletonStore(tmp_path / "s.h5") as store:
        assert len(store) == 11 and store.problems == [PROBLEM]
        assert store.keys == [clip.key for clip in clips] and store.names == [clip.name for clip in clips]
        for row in (*range(11), 3, 0):
            assert store.split(row) == clips[row].split
            back = store.clip(row, Path("x.avi"))
            assert back.video == Path("x.avi")
            assert_same_clip(back, clips[row])


def test_a_store_without_clips(tmp_path: Path) -> None:
    write_store(tmp_path / "s.h5", [PROBLEM], SOURCES)
    with SkeletonStore(tmp_path / "s.h5") as store:
        assert len(store) == 0 and store.problems == [PROBLEM]


def test_clips_of_one_key_get_others(tmp_path: Path) -> None:
    clips = [make_clip(1, key="x", name="wave/x"), make_clip(2), make_clip(3, key="x", name="bow/x")]
    write_store(tmp_path / "s.h5", clips, SOURCES)
    with SkeletonStore(tmp_path / "s.h5") as store:
        assert store.keys == ["wave-x", "clip-2", "bow-x"]


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^train/x: two clips of this name$"):
        write_store(tmp_path / "s.h5", [make_clip(1, name="train/x"), make_clip(2, name="train/x")], SOURCES)
    assert list(tmp_path.iterdir()) == []


def test_a_store_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_store(tmp_path / "s.h5", [make_clip(1)], SOURCES)
    before = (tmp_path / "s.h5").read_bytes()

    def broken() -> Iterator[Clip]:
        yield make_clip(2)
        raise ValueError("the pickle is damaged")

    with pytest.raises(ValueError, match=r"^the pickle is damaged$"):
        write_store(tmp_path / "s.h5", broken(), SOURCES)
    assert (tmp_path / "s.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


def test_a_store_knows_its_sources(tmp_path: Path) -> None:
    write_store(tmp_path / "s.h5", [make_clip(1)], SOURCES)
    assert stored_sources(tmp_path / "s.h5") == SOURCES


def test_what_is_no_current_store_has_no_sources(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    assert stored_sources(path) is None
    path.write_bytes(b"text")
    assert stored_sources(path) is None
    with h5py.File(path, "w"):
        pass
    assert stored_sources(path) is None
    write_store(path, [make_clip(1)], SOURCES)
    with h5py.File(path, "a") as file:
        file.attrs["format"] = 0
    assert stored_sources(path) is None


def test_clips_check_themselves_when_they_are_read(tmp_path: Path) -> None:
    write_store(tmp_path / "s.h5", [make_clip(1)], SOURCES)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["image_size"][0] = (0, 0)
    with (
        SkeletonStore(tmp_path / "s.h5") as store,
        pytest.raises(ValueError, match=r"^clip-1: image_size must be \(H, W\) from 1 to 65535, got \(0, 0\)$"),
    ):
        store.clip(0, None)
