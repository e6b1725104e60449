"""Folders by URL: the objects under a prefix of a store (s3://bucket/ntu60) or of a web server, read with patience."""

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


class NoRangesError(OSError):
    """A web server answers a request for some bytes of a file with the whole of it."""


def is_url(location: Path | str) -> bool:
    """Whether a location is an fsspec URL, not a path."""
    return "://" in str(location)


class RemoteFolder:
    """What lies under a URL. Each operation is tried again when it fails. It may travel to other processes.

    Args:
        url: as fsspec knows it: `s3://bucket/ntu60`, `https://host/ntu60`.
        attempts: how often an operation is tried; the waits between them double from half a second. Eight attempts
            outlive a minute without network.

    Raises:
        ValueError: nothing here knows the URL's protocol.
    """

    def __init__(self, url: str, *, attempts: int) -> None:
        self.url, self._attempts = url.rstrip("/"), attempts
        _ = self.fs  # a URL that cannot be used is refused now

    def __getstate__(self) -> dict[str, Any]:  # connections do not travel to another process
        return {"url": self.url, "_attempts": self._attempts}

    @cached_property
    def fs(self) -> Any:
        """The file system of fsspec."""
        import fsspec  # here: most runs read a folder, and its import takes a while

        try:
            return fsspec.core.url_to_fs(self.url, use_listings_cache=False)[0]
        except ImportError as error:
            raise ValueError(f"{self.url}: {error}; for s3:// pip install 'epam[s3]'") from None
        except ValueError as error:  # "Protocol not known"
            raise ValueError(f"{self.url}: {error}") from None

    def path(self, name: str) -> str:
        """What the file system calls an object."""
        return f"{self.fs._strip_protocol(self.url)}/{name}"

    def read(self, name: str) -> bytes | None:
        """A whole object; None where there is none."""
        return self._unless_absent("read", name, lambda path: bytes(self.fs.cat_file(path)))

    def size(self, name: str) -> int | None:
        """Bytes of an object; None where there is none."""
        return self._unless_absent("looked at", name, lambda path: int(self.fs.size(path)))

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Bytes begin ... end - 1 of objects, for each (name, begin, end); all are asked for at the same time.

        Raises:
            OSError: an object is absent or too short, or the store does not give it.
        """
        names, begins, ends = map(list, zip(*ranges, strict=True))

        def fetch() -> list[bytes]:
            parts = list(map(bytes, self.fs.cat_ranges(list(map(self.path, names)), begins, ends, on_error="raise")))
            for name, begin, end, part in zip(names, begins, ends, parts, strict=True):
                if len(part) > end - begin:
                    raise NoRangesError("the server gives whole files only, not ranges of bytes")
                if len(part) < end - begin:  # a connection that broke in the middle
                    raise OSError(f"{len(part)} of {end - begin} bytes at {begin} of {name} arrived")
            return parts

        return self.retry("read", names[0], fetch)

    def retry(self, what: str, name: str, operation: Callable[[], Result]) -> Result:
        """Try `operation` a few times: a store answers 500, or drops the connection, now and then.

        Args:
            what: past participle for the message: "read", "written".
            name: of the object.
            operation: what to try.

        Raises:
            OSError: permission is denied, another attempt would not help, or all failed.
        """
        for attempt in range(self._attempts):
            try:
                return operation()
            except PermissionError as error:
                raise OSError(f"{self.url}/{name}: permission denied ({error})") from error
            except (TypeError, AttributeError, MemoryError):
                raise
            except Exception as error:  # each store's package has errors of its own for a connection that breaks
                if _is_final(error):
                    raise OSError(f"{self.url}/{name}: could not be {what} ({error or repr(error)})") from error
                if attempt == self._attempts - 1:
                    raise OSError(
                        f"{self.url}/{name}: could not be {what} in {self._attempts} attempts ({error or repr(error)})"
                    ) from error
                if attempt:  # one failure is nothing to speak of
                    told = f"{self.url}/{name}: not {what} yet ({error or repr(error)})"
                    _log.warning("%s; attempt %d of %d follows", told, attempt + 2, self._attempts)
                # Many ranks fail together: they should not come back together.
                time.sleep(_FIRST_WAIT_SECONDS * 2**attempt * random.uniform(0.75, 1.25))
        raise AssertionError("unreachable")

    def _unless_absent(self, what: str, name: str, operation: Callable[[str], Result]) -> Result | None:
        def attempt() -> Result | None:
            try:
                return operation(self.path(name))
            except FileNotFoundError:
                return None

        return self.retry(what, name, attempt)


def _is_final(error: Exception) -> bool:
    """Whether the same request would fail again: nothing is there, or the server refuses it (HTTP 4xx)."""
    if isinstance(error, (FileNotFoundError, NoRangesError)) or type(error).__name__ == "NoCredentialsError":
        return True
    status = getattr(error, "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)
