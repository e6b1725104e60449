"""A real S3 protocol server on loopback (moto) failing on purpose: 500s, broken connections, torn or lost answers."""

import io
import os
import random
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

BUCKET = "shards"


class FaultySocketError(Exception):
    """The connection was cut."""


class FaultyS3:
    """Serves S3 at `endpoint`; each request fails with probability `fault_rate`, the first `sure_faults` for certain.

    A context manager.

    `written` holds the name of every object in the order in which they became visible, `read` the name of the object
    and the first byte of every part of one that was sent whole.
    """

    def __init__(self, seed: int) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self.seed = seed
        self._random, self._lock = random.Random(seed), threading.Lock()
        self.fault_rate = 0.0
        self.faults = self.sure_faults = 0
        self.written: list[str] = []
        self.read: list[tuple[str, int]] = []
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.port}"
        self.environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_MAX_ATTEMPTS": "1",  # leave the retries to us
        }

    def __enter__(self) -> "FaultyS3":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _draw(self) -> str | None:
        with self._lock:
            if self.faults >= self.sure_faults and self._random.random() >= self.fault_rate:
                return None
            self.faults += 1
            return self._random.choice(["500", "503", "cut before", "cut in the body", "answer lost", "answer torn"])

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fault = self._draw()
        body = get_input_stream(environ)
        if fault in ("500", "503"):
            body.read()
            start_response(f"{fault} no", [("Content-Type", "application/xml")])
            code = "InternalError" if fault == "500" else "SlowDown"
            return [f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()]
        if fault == "cut before":
            self._cut(environ)
        if fault == "cut in the body":
            body.read(1 << 10)
            self._cut(environ)
        data = body.read()
        status: list[Any] = []

        def start(*arguments: Any) -> None:
            status[:] = arguments

        answer = b"".join(self._app({**environ, "wsgi.input": io.BytesIO(data)}, start))
        with self._lock:
            one_piece = environ["REQUEST_METHOD"] == "PUT" and "partNumber" not in environ["QUERY_STRING"]
            last_piece = environ["REQUEST_METHOD"] == "POST" and "uploadId" in environ["QUERY_STRING"]
            name = environ["PATH_INFO"].removeprefix(f"/{BUCKET}").strip("/")
            if name and status[0].startswith("200") and (one_piece or last_piece):
                self.written.append(name)
            if environ["REQUEST_METHOD"] == "GET" and name and status[0].startswith("20") and fault is None:
                self.read.append(
                    (name, int(environ.get("HTTP_RANGE", "bytes=0-").removeprefix("bytes=").split("-")[0]))
                )
        if fault == "answer lost":
            self._cut(environ)
        start_response(*status)
        return self._torn(answer, environ) if fault == "answer torn" else [answer]

    def _torn(self, answer: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
        yield answer[: len(answer) // 2]
        self._cut(environ)

    def _cut(self, environ: dict[str, Any]) -> None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise FaultySocketError
