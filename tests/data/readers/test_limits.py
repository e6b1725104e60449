"""A file that wants more than its size allows costs an error, not the machine."""

import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from epam_data.readers import limits
from epam_data.readers.limits import read_with_limits, stored_with_limits
from epam_data.readers.pickles import load_pickle
from epam_data.schema import Clip, Problem


def allocate(num_bytes: int) -> int:
    return len(bytearray(num_bytes))


def fail(text: str) -> None:
    raise ValueError(text)


def test_what_a_function_returns_or_raises_comes_back(tmp_path: Path):
    assert read_with_limits([tmp_path / "a.pkl"], allocate, 1000) == 1000
    with pytest.raises(ValueError, match=r"^a\.pkl: no$"):
        read_with_limits([tmp_path / "a.pkl"], fail, "a.pkl: no")


def test_memory_is_limited_by_the_size_of_the_files(tmp_path: Path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"^a\.pkl: cannot be read \(more than 700 MB of memory are needed\)"):
        read_with_limits([path], allocate, 900_000_000)
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert read_with_limits([path], allocate, 900_000_000) == 900_000_000


def test_time_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "_LEAST_SECONDS", 1.0)
    with pytest.raises(ValueError, match=r"^a\.pkl: cannot be read \(took over 1 s and was stopped\)"):
        read_with_limits([tmp_path / "a.pkl"], time.sleep, 60)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04]r\xff\xff\xff\x7f.",  # a place in the memo
        b"\x80\x04\x8e" + struct.pack("<Q", 9 * 10**9) + b"x.",  # bytes
        b"\x80\x05\x96" + struct.pack("<Q", 9 * 10**9) + b"x.",  # a bytearray
        b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",  # an integer
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",  # a frame
    ],
)
def test_a_number_in_a_pickle_is_no_claim_on_memory(tmp_path: Path, data: bytes):
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^a\.pkl: "):
        read_with_limits([path], load_pickle, path)


def test_a_file_of_ordinary_lists_fits(tmp_path: Path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([[float(number) for number in range(1000)]] * 1))
    assert len(read_with_limits([path], load_pickle, path)[0]) == 1000


def test_records_that_share_arrays_are_limited(tmp_path: Path):
    path = tmp_path / "a.pkl"
    path.write_bytes(bytes(1_000_000))  # for 216 MB of numbers
    keypoints = np.ones((1, 200_000, 17, 2), np.float32)  # 27 MB, and 14 MB of scores
    values = {"key": "a", "name": "a", "split": "train", "label": 0, "image_size": (9, 9)}
    clip = Clip(**values, keypoints=keypoints, scores=keypoints[..., 0])
    problem = Problem(name="b", split="train", action="skipped", reason="b: no")
    assert list(stored_with_limits([problem, *[clip] * 5], [path])) == [problem, *[clip] * 5]
    with pytest.raises(ValueError, match=r"^a\.pkl: records hold over 216 MB of numbers; do they share arrays\?$"):
        list(stored_with_limits([clip] * 6, [path]))
