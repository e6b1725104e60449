"""Folders by URL: what is tried again, and what another attempt would not help."""

import http.server
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from epam_data.system import remote as remote_module
from epam_data.system.remote import RemoteFolder, is_url


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "_FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> RemoteFolder:
    (tmp_path / "a").write_bytes(b"0123456789")
    return RemoteFolder(f"file://{tmp_path}", attempts=3)


def failing(folder: RemoteFolder, *errors: Exception) -> list[str]:
    """Ask for something that fails so, then succeeds; one entry per attempt."""
    attempts: list[str] = []
    left = list(errors)

    def operation() -> None:
        attempts.append("attempt")
        if left:
            raise left.pop(0)

    folder.retry("read", "a", operation)
    return attempts


def test_urls_and_paths():
    assert is_url("s3://bucket/ntu60") and not is_url("shards/ntu60") and not is_url(Path("/shards"))


def test_what_lies_there_is_read(folder: RemoteFolder):
    copy = pickle.loads(pickle.dumps(folder))
    assert copy.read("a") == b"0123456789" and copy.size("a") == 10
    assert copy.read("b") is None and copy.size("b") is None
    assert copy.read_ranges([("a", 2, 4), ("a", 0, 10)]) == [b"23", b"0123456789"]


def test_a_broken_connection_is_retried_and_reported(folder: RemoteFolder, caplog: pytest.LogCaptureFixture):
    assert len(failing(folder, ConnectionResetError("reset"))) == 2
    assert caplog.messages == []
    assert len(failing(folder, ConnectionResetError("reset"), ConnectionResetError("reset again"))) == 3
    assert caplog.messages == [f"{folder.url}/a: not read yet (reset again); starting attempt 3 of 3"]


class HttpError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class NoCredentialsError(Exception):
    """As botocore's."""


class ClientError(Exception):
    """As botocore's."""

    def __init__(self, code: str) -> None:
        self.response = {"Error": {"Code": code}}


def translated_by_s3fs(code: str) -> FileNotFoundError:
    error = FileNotFoundError("no")
    error.__cause__ = ClientError(code)
    return error


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(folder: RemoteFolder, status: int):
    assert len(failing(folder, HttpError(status))) == 2


def test_an_upload_whose_end_was_reported_to_nobody_is_made_again(folder: RemoteFolder):
    """The request that ended it was repeated, since its reply was lost; s3fs makes FileNotFoundError of the answer."""
    assert len(failing(folder, translated_by_s3fs("NoSuchUpload"))) == 2
    with pytest.raises(OSError, match=r"could not be read \(no\)$"):
        failing(folder, translated_by_s3fs("NoSuchBucket"))


@pytest.mark.parametrize(
    "error",
    [HttpError(400), HttpError(403), NoCredentialsError("Unable to locate credentials"), FileNotFoundError("a")],
)
def test_what_will_not_change_is_not_asked_again(folder: RemoteFolder, error: Exception):
    with pytest.raises(OSError, match=rf"^{folder.url}/a: could not be read \({error}\)$"):
        failing(folder, error)


def test_denied_is_denied(folder: RemoteFolder):
    with pytest.raises(OSError, match=r"/a: permission denied \(not yours\)$"):
        failing(folder, PermissionError("not yours"))


def test_a_mistake_of_the_program_is_shown_as_it_is(folder: RemoteFolder):
    with pytest.raises(TypeError, match=r"^wrong$"):
        failing(folder, TypeError("wrong"))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server that knows no ranges."""
    (tmp_path / "a").write_bytes(b"0123456789")
    requests: list[Any] = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None:
            requests.append(self.command)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    assert requests.count("GET") <= 2


def test_a_server_without_ranges_is_named(web: str):
    pytest.importorskip("aiohttp")
    remote = RemoteFolder(web, attempts=3)
    with pytest.raises(OSError, match="the server sends complete files only, not byte ranges"):
        remote.read_ranges([("a", 2, 4)])


@pytest.fixture
def hostile() -> Iterator[str]:
    """A web server that sends without end, slowly, or sends elsewhere."""

    class Hostile(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = self.path.strip("/")
            if kind == "redirect":
                self.send_response(302)
                self.send_header("Location", "file:///etc/hostname")
                self.end_headers()
                return
            self.send_response(206 if "Range" in self.headers else 200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(2000):
                    self.wfile.write(b" " * (1 if kind == "slow" else 1 << 20))
                    self.wfile.flush()
                    if kind == "slow":
                        time.sleep(0.05)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_no_more_is_read_than_was_asked_for(hostile: str):
    pytest.importorskip("aiohttp")
    remote = RemoteFolder(hostile, attempts=3)
    with pytest.raises(OSError, match=r"/endless: could not be read \(more than 3000000 bytes were sent\)$"):
        remote.read("endless", 3_000_000)
    with pytest.raises(OSError, match="the server sends complete files only, not byte ranges"):
        remote.read_ranges([("endless", 0, 1_000_000), ("endless", 10, 1_000_000)])


def test_a_slow_server_has_a_time_limit(hostile: str, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote_module, "TIMEOUT", {**remote_module.TIMEOUT, "total": 0.4})
    monkeypatch.setattr(remote_module, "_TOTAL_SECONDS", 0.6)
    begun = time.monotonic()
    with pytest.raises(OSError, match=r"/slow: could not be read in \d s \("):
        RemoteFolder(hostile, attempts=100).read("slow", 1000)
    assert time.monotonic() - begun < 10


def test_a_redirect_leads_to_the_web_only(hostile: str):
    pytest.importorskip("aiohttp")
    with pytest.raises(OSError, match=r"/redirect: could not be read \(file:///etc/hostname\)$"):
        RemoteFolder(hostile, attempts=100).read("redirect", 1000)


def test_a_large_object_is_refused_before_it_is_read(folder: RemoteFolder):
    assert folder.read("a", 10) == b"0123456789"
    with pytest.raises(OSError, match=r"larger than 9 bytes, the most that is read\)$"):
        folder.read("a", 9)
