"""Folders by URL: objects under a prefix of a store (s3://bucket/ntu60) or on a web server, read with retries.

Web servers are read through connections of fsspec, but never more bytes than were asked for: it reads an answer to its
end, however long it is. Redirects lead to http and https only (aiohttp sees to it).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_FIRST_WAIT_SECONDS = 0.5  # doubled after each failure


TIMEOUT = {"total": 300.0, "sock_connect": 30.0, "sock_read": 60.0}
"""Seconds of one request: in total, until a connection, from one piece of the answer to the next."""

_BLOCK_BYTES = 1 << 16
_AT_ONCE = 64  # requests

_TOTAL_SECONDS = 600.0  # of an operation with all its attempts; afterwards a new attempt is not begun
_MAX_BYTES = 1 << 32  # of an object that is read whole


class TooLongError(OSError):
    """A server sends more bytes than were asked for: a file over its limit, or the complete file for a range of it."""


class NoRangesError(OSError):
    """A web server ignores byte ranges and sends the complete file."""


def is_url(location: Path | str) -> bool:
    """Whether a location is an fsspec URL rather than a path."""
    return "://" in str(location)


class RemoteFolder:
    """The objects under a URL. Failed operations are retried. Picklable.

    Args:
        url: any URL that fsspec supports: `s3://bucket/ntu60`, `https://host/ntu60`.
        attempts: tries per operation; the delay starts at half a second and doubles. Eight attempts survive a minute
            without network.

    Raises:
        ValueError: the URL's protocol is not supported.
    """

    def __init__(self, url: str, *, attempts: int) -> None:
        self.url, self._attempts = url.rstrip("/"), attempts
        _ = self.fs  # refuse an unusable URL now

    def __getstate__(self) -> dict[str, Any]:  # connections cannot be pickled
        return {"url": self.url, "_attempts": self._attempts}

    @cached_property
    def fs(self) -> Any:
        """The fsspec file system."""
        import fsspec  # slow to import, and most runs read a local folder

        try:
            options = _options_of_web() if self.url.startswith(("http://", "https://")) else {}
            return fsspec.core.url_to_fs(self.url, use_listings_cache=False, **options)[0]
        except ImportError as error:
            raise ValueError(f"{self.url}: {error}; for s3:// pip install 'epam[s3]'") from None
        except ValueError as error:  # "Protocol not known"
            raise ValueError(f"{self.url}: {error}") from None

    def path(self, name: str) -> str:
        """The path of an object in the file system."""
        return f"{self.fs._strip_protocol(self.url)}/{name}"

    def read(self, name: str, max_bytes: int = _MAX_BYTES) -> bytes | None:
        """The content of an object; None if it does not exist.

        Raises:
            OSError: it has more than `max_bytes`, or cannot be read.
        """

        def whole(path: str) -> bytes:
            if _is_web(self.fs):
                return _read_file(self.fs, path, max_bytes)
            if int(self.fs.size(path)) > max_bytes:
                raise TooLongError(f"larger than {max_bytes} bytes, the most that is read")
            return bytes(self.fs.cat_file(path))

        return self._unless_absent("read", name, whole)

    def size(self, name: str) -> int | None:
        """Size of an object in bytes; None if it does not exist."""
        return self._unless_absent("looked at", name, lambda path: int(self.fs.size(path)))

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Bytes begin ... end - 1 of an object for each (name, begin, end), requested in parallel.

        Raises:
            OSError: an object is missing or too short, or the store refuses it.
        """
        found: dict[int, bytes] = {}  # by number of the range: what earlier attempts have read

        def fetch() -> list[bytes]:
            left = [number for number in range(len(ranges)) if number not in found]
            wanted = [(self.path(name), begin, end) for name, begin, end in (ranges[number] for number in left)]
            failure: Exception | None = None
            for number, part in zip(left, self._parts(wanted), strict=True):
                name, begin, end = ranges[number]
                if isinstance(part, Exception):
                    failure = part
                elif len(part) > end - begin:
                    raise NoRangesError("the server sends complete files only, not byte ranges")
                elif len(part) < end - begin:  # the connection broke
                    failure = OSError(f"received {len(part)} of {end - begin} bytes at {begin} of {name}")
                else:
                    found[number] = bytes(part)
            if failure is not None:
                raise failure
            return [found[number] for number in range(len(ranges))]

        return self.retry("read", ranges[0][0], fetch)

    def _parts(self, ranges: list[tuple[str, int, int]]) -> list[bytes | Exception]:
        """The bytes of each range, or why they could not be read."""
        if _is_web(self.fs):
            return [*self._from_web(ranges)]
        paths, begins, ends = map(list, zip(*ranges, strict=True))
        return list(self.fs.cat_ranges(paths, begins, ends, on_error="return"))

    def _from_web(self, ranges: list[tuple[str, int, int]]) -> list[bytes]:
        try:
            return _read_ranges(self.fs, ranges)
        except TooLongError:
            raise NoRangesError("the server sends complete files only, not byte ranges") from None

    def retry(self, what: str, name: str, operation: Callable[[], Result]) -> Result:
        """Run `operation`, retrying it: stores sometimes answer 500 or drop the connection.

        Args:
            what: past participle for the message: "read", "written".
            name: of the object.
            operation: what to run.

        Raises:
            OSError: permission denied, an error that a retry cannot fix, all attempts failed, or they took too long.
        """
        begun = time.monotonic()
        for attempt in range(self._attempts):
            try:
                return operation()
            except PermissionError as error:
                raise OSError(f"{self.url}/{name}: permission denied ({error})") from error
            except (TypeError, AttributeError, MemoryError):
                raise
            except Exception as error:  # each store's package has its own errors for a broken connection
                if _is_final(error):
                    raise OSError(f"{self.url}/{name}: could not be {what} ({error or repr(error)})") from error
                seconds = time.monotonic() - begun
                if attempt == self._attempts - 1 or seconds > _TOTAL_SECONDS:
                    tried = f"{attempt + 1} attempts" if attempt == self._attempts - 1 else f"{seconds:.0f} s"
                    raise OSError(
                        f"{self.url}/{name}: could not be {what} in {tried} ({error or repr(error)})"
                    ) from error
                if attempt:  # a single failure is not worth a warning
                    failure = f"{self.url}/{name}: not {what} yet ({error or repr(error)})"
                    _log.warning("%s; starting attempt %d of %d", failure, attempt + 2, self._attempts)
                # Jitter: many ranks fail together and should not all retry together.
                time.sleep(_FIRST_WAIT_SECONDS * 2**attempt * random.uniform(0.75, 1.25))
        raise AssertionError("unreachable")

    def _unless_absent(self, what: str, name: str, operation: Callable[[str], Result]) -> Result | None:
        def attempt() -> Result | None:
            try:
                return operation(self.path(name))
            except FileNotFoundError:
                return None

        return self.retry(what, name, attempt)


def _is_web(fs: Any) -> bool:
    """Whether an fsspec file system is a web server."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return "http" in protocols or "https" in protocols


def _options_of_web() -> dict[str, Any]:
    """The options of fsspec for web servers: `TIMEOUT`.

    Raises:
        ImportError: aiohttp is not installed.
    """
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(**TIMEOUT)}}


def _read_file(fs: Any, url: str, max_bytes: int) -> bytes:
    """The content of a URL.

    Raises:
        FileNotFoundError: there is none.
        TooLongError: it has more than `max_bytes`.
        Exception: aiohttp's own errors.
    """
    from fsspec.asyn import sync

    data: bytes = sync(fs.loop, _get, fs, url, max_bytes, {})
    return data


def _read_ranges(fs: Any, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Bytes begin ... end - 1 for each (url, begin, end), requested in parallel; raises as `_read_file` does."""
    from fsspec.asyn import sync

    parts: list[bytes] = sync(fs.loop, _get_ranges, fs, ranges)
    return parts


async def _get_ranges(fs: Any, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    import asyncio  # here: most commands never need it

    free = asyncio.Semaphore(_AT_ONCE)

    async def get(url: str, begin: int, end: int) -> bytes:
        async with free:
            return await _get(fs, url, end - begin, {"Range": f"bytes={begin}-{end - 1}"})

    tasks = [asyncio.ensure_future(get(*each)) for each in ranges if each[1] < each[2]]
    try:
        parts = iter(await asyncio.gather(*tasks))
    finally:
        for task in tasks:  # one failed: the others' bytes are of no use
            task.cancel()
    return [next(parts) if begin < end else b"" for _, begin, end in ranges]


async def _get(fs: Any, url: str, max_bytes: int, headers: dict[str, str]) -> bytes:
    session = await fs.set_session()
    options = {**fs.kwargs, "headers": {**fs.kwargs.get("headers", {}), **headers}}
    data = bytearray()
    async with session.get(fs.encode_url(url), **options) as answer:
        if answer.status == 404:
            raise FileNotFoundError(url)
        answer.raise_for_status()
        async for block in answer.content.iter_chunked(_BLOCK_BYTES):
            data += block
            if len(data) > max_bytes:
                raise TooLongError(f"more than {max_bytes} bytes were sent")
    return bytes(data)


_FINAL = ("NoCredentialsError", "NonHttpUrlRedirectClientError", "TooManyRedirects")  # of botocore and aiohttp


def _is_final(error: Exception) -> bool:
    """Whether a retry would fail too: the object does not exist, or the server refuses the request (HTTP 4xx)."""
    if _is_lost_upload(error):
        return False
    if isinstance(error, (FileNotFoundError, NoRangesError, TooLongError)) or type(error).__name__ in _FINAL:
        return True
    status = getattr(error, "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)


def _is_lost_upload(error: Exception) -> bool:
    """Whether S3 no longer knows a multipart upload: a reply was lost, and s3fs repeated the request that ended it."""
    reply = getattr(error.__cause__, "response", None)
    return isinstance(reply, dict) and reply.get("Error", {}).get("Code") == "NoSuchUpload"
