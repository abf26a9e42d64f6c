"""A receiver of webhooks on a port of this machine."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@contextmanager
def receiver(*statuses: int) -> Iterator[tuple[str, list[Any]]]:
    """Lend an address and what was posted to it; it answers with these statuses in turn."""
    got: list[Any] = []
    answers = iter(statuses)

    class Post(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status = next(answers)
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Post)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/a-secret-path", got
    finally:
        server.shutdown()
        server.server_close()
