from epam_data.progress import Progress


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Progress("build", "clips") as progress:
        progress(1, 4)
        progress(4, 4, "1 skipped")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1  # the last; lines in between come every ten seconds
    assert lines[0].startswith("build: 4/4 clips, ") and lines[0].endswith("0 s left, 1 skipped")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress("build", "clips") as progress:
        progress(2, 4, "none skipped")
    assert "2/4" in capsys.readouterr().err
