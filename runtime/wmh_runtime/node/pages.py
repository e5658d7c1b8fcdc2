"""The pages /healthz and /metrics, on this machine only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of

_LOCAL = "127.0.0.1"


@contextmanager
def status_pages(
    port: int, problems: Callable[[], list[str]], metrics: Callable[[], bytes]
) -> Iterator[None]:
    """Serve the pages within the block.

    Args:
        port: on 127.0.0.1.
        problems: returns what is wrong with the node; /healthz then has the status 503.
        metrics: returns the text of /metrics.

    Raises:
        InputError: the port cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/healthz":
                found = problems()
                text = "\n".join(found) or "ok"
                status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
                self._answer(status, f"{text}\n".encode())
            elif self.path == "/metrics":
                self._answer(HTTPStatus.OK, metrics())
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"/healthz or /metrics\n")

        def _answer(self, status: HTTPStatus, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing: a monitor asks every few seconds."""

    try:
        server = ThreadingHTTPServer((_LOCAL, port), Handler)
    except OSError as error:
        problem = f"port {port} cannot be used ({reason_of(error)})"
        raise InputError(problem, "Choose another port.", about="status") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="status", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
