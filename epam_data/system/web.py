"""Read from web servers, through fsspec's connections: never more bytes than were asked for.

fsspec reads an answer to its end, however long it is. Redirects lead to http and https only (aiohttp sees to it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TIMEOUT = {"total": 300.0, "sock_connect": 30.0, "sock_read": 60.0}
"""Seconds of one request: in total, until a connection, from one piece of the answer to the next."""

_BLOCK_BYTES = 1 << 16
_AT_ONCE = 64  # requests


class TooLongError(OSError):
    """A server sends more bytes than were asked for: a file over its limit, or the complete file for a range of it."""


def is_web(fs: Any) -> bool:
    """Whether an fsspec file system is a web server."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return "http" in protocols or "https" in protocols


def options_of_web() -> dict[str, Any]:
    """The options of fsspec for web servers: `TIMEOUT`.

    Raises:
        ImportError: aiohttp is not installed.
    """
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(**TIMEOUT)}}


def read_file(fs: Any, url: str, max_bytes: int) -> bytes:
    """The content of a URL.

    Raises:
        FileNotFoundError: there is none.
        TooLongError: it has more than `max_bytes`.
        Exception: aiohttp's own errors.
    """
    from fsspec.asyn import sync

    data: bytes = sync(fs.loop, _get, fs, url, max_bytes, {})
    return data


def read_ranges(fs: Any, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Bytes begin ... end - 1 for each (url, begin, end), requested in parallel; raises as `read_file` does."""
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
