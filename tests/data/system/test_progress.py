import logging

import pytest

from epam_data.system.progress import Progress, duration, volume


@pytest.fixture(autouse=True)
def shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "epam_data")


def test_plain_lines_where_there_is_no_terminal(caplog):
    with Progress("build", "clips") as progress:
        progress(1, 4)
        progress(4, 4, "1 skipped")
    lines = caplog.messages
    assert len(lines) == 1  # the last; lines in between come every ten seconds
    assert lines[0].startswith("build: 4/4 clips, ") and lines[0].endswith("0 s left, 1 skipped")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress("build", "clips") as progress:
        progress(2, 4, "none skipped")
    assert "2/4" in capsys.readouterr().err


def test_what_was_done_before_is_no_rate(caplog):
    with Progress("build", "clips") as progress:
        progress(100, 102)
        progress(102, 102)
    (line,) = caplog.messages
    assert line.startswith("build: 102/102 clips, ") and "time left unknown" not in line


@pytest.mark.parametrize("is_terminal", [False, True])
def test_nothing_is_shown_below_the_level(capsys, caplog, monkeypatch, is_terminal: bool):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    caplog.set_level(logging.WARNING, "epam_data")
    with Progress("build", "clips") as progress:
        progress(4, 4)
    assert not caplog.messages and not capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (60000, "16 h 40 min"),
        (1e6, "11 d 13 h"),
    ],
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(("num_bytes", "text"), [(780, "0.8 kB"), (2_100_000, "2.1 MB"), (44.9e9, "44.9 GB")])
def test_volumes(num_bytes: float, text: str):
    assert volume(num_bytes) == text
