"""A server in a thread that answers as the APIs of GitHub and GitLab do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "secret-token-0123456789"


class CodeHostServer(ThreadingHTTPServer):
    """The server.

    Attributes:
        comments: The comments, as GitHub and GitLab return them; the page size is that of the request.
        pulls: The pull requests.
        user: Whose token it is; None if the token may not ask.
        planned: Answers to the next writing requests, in place of the usual ones: status, headers and body.
        seen: The method and path of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.pulls: list[dict[str, Any]] = []
        self.user: str | None = None
        self.planned: list[tuple[int, dict[str, str], Any]] = []
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, body: str, login: str = "github-actions[bot]", kind: str = "Bot") -> dict[str, Any]:
        author = {"login": login, "type": kind, "username": login}
        self.comments.append({"id": 100 + len(self.comments), "body": body, "user": author, "author": author})
        return self.comments[-1]


@contextmanager
def code_host() -> Iterator[CodeHostServer]:
    """Run the server in a thread."""
    with CodeHostServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: CodeHostServer

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""

    def _answer(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(data).encode() if not isinstance(data, bytes) else data
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def _serve(self) -> None:
        server, (path, query) = self.server, urlsplit(self.path)[2:4]
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        server.seen.append(f"{self.command} {path}")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or self.headers.get("PRIVATE-TOKEN")
        token = token or self.headers.get("JOB-TOKEN")
        if token != TOKEN:
            self._answer(401, {"message": f"Bad credentials {token}"})
        elif path == "/user":
            known = {"login": server.user, "username": server.user}
            self._answer(*((200, known) if server.user else (403, {"message": "Resource not accessible"})))
        elif self.command == "GET":
            found = server.pulls if path.endswith("/pulls") else server.comments
            size, page = (int(parse_qs(query)[name][0]) for name in ("per_page", "page"))
            self._answer(200, found[(page - 1) * size : page * size])
        elif server.planned:
            status, headers, data = server.planned.pop(0)
            self._answer(status, data, headers)
        elif self.command == "POST":
            self._answer(201, server.add(body["body"], server.user or "github-actions[bot]"))
        else:
            (number,) = map(int, re.findall(r"/(\d+)$", path))
            server.comments[number - 100]["body"] = body["body"]
            self._answer(200, server.comments[number - 100])

    do_GET = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815 - the names that the server calls
