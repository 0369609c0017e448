"""A file server on this machine whose answers go wrong as a test says."""

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultyServer:
    """Serves `files` by path with ranges and ETags.

    Attributes:
      faults: each request takes the first of these and hands the answer over to it; without any, answers are right.
      requests: path and Range header of each request, in order.
      sent: bytes of bodies sent.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.faults: list[Callable[[Handler], None]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.sent = 0
        self.etag: str | None = '"1"'

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @contextlib.contextmanager
    def running(self) -> Iterator["FaultyServer"]:
        handler = type("BoundHandler", (Handler,), {"owner": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultyServer

    def do_GET(self):
        self.owner.requests.append((self.path, self.headers.get("Range")))
        fault = self.owner.faults.pop(0) if self.owner.faults else Handler.answer
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            fault(self)

    def log_message(self, *arguments):
        pass

    def content(self) -> bytes:
        return self.owner.files[self.path.partition("?")[0]]

    def start(self) -> int:
        """Where the answer starts: the Range header, unless If-Range names another state of the file."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        return int(match[1]) if match and if_range in (None, self.owner.etag) else 0

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, *, length: int | None = None, pause_s: float = 0.0, extra: dict[str, str] | None = None) -> None:
        """The right answer, of which only the first `length` bytes are sent."""
        if self.path.partition("?")[0] not in self.owner.files:
            self.head(404, {"Content-Length": "0"})
            return
        content, start = self.content(), self.start()
        headers = {} if self.owner.etag is None else {"ETag": self.owner.etag}
        if start and start >= len(content):
            self.head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers["Content-Length"] = str(len(content) - start)
        self.head(206 if start else 200, headers | (extra or {}))
        self.send(content[start:] if length is None else content[start:][:length])
        if length is not None:
            time.sleep(pause_s)
            self.close_connection = True

    def send(self, body: bytes) -> None:
        self.wfile.write(body)
        self.owner.sent += len(body)

    def drop(self) -> None:
        """Closes the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.wfile.close()
        self.rfile.close()
        self.connection.close()


def cut_after(length: int) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(length=length)


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.head(code, {"Content-Length": "0"} | named)
