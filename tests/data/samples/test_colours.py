"""A PyAV of wrong colours decodes nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from epam_data.samples import colours
from epam_data.samples.colours import check_colours
from epam_data.samples.video import decode_clip
from tests.data.raw_data import background, write_video


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    check_colours.cache_clear()
    yield
    check_colours.cache_clear()


def test_the_matrices_are_those_of_the_standards() -> None:
    """By hand, for YUV (110, 90, 190): Y' = 0.429, Cb = -0.170, Cr = 0.277."""
    assert colours._by_arithmetic(0.2126, 0.0722).tolist() == [221, 85, 29]
    assert colours._by_arithmetic(0.299, 0.114).tolist() == [208, 74, 33]


def test_this_pyav_is_right() -> None:
    check_colours()


def test_one_matrix_for_all_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As PyAV 12 to 16 do."""
    write_video(tmp_path / "a.mp4", [background((32, 32))] * 3)
    by_pyav = colours._by_pyav
    monkeypatch.setattr(colours, "_by_pyav", lambda number: by_pyav(5))
    with pytest.raises(ValueError, match=r"^PyAV \S+ gives RGB \[207, 72, 32\] for YUV \(110, 90, 190\) of BT\.709, "):
        decode_clip(tmp_path / "a.mp4", (0, 0, 32, 32), 16, 3)


def test_one_level_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converters round in different ways."""
    right = {1: (0.2126, 0.0722), 5: (0.299, 0.114)}
    off = np.array([3, -3, 0])
    monkeypatch.setattr(colours, "_by_pyav", lambda number: colours._by_arithmetic(*right[number]) + off)
    check_colours()
