"""A real S3 server (moto) in a process of its own, and a network before it that can be slow or fail."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

BUCKET = "team"


@contextlib.contextmanager
def server() -> Iterator[int]:
    """Start a server with BUCKET, and yield its port."""
    port = _free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            _wait_for(port, process)
            _make_bucket(port)
            yield port
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the S3 server ended"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.1)
    raise AssertionError("the S3 server did not come up")


def _make_bucket(port: int) -> None:
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def credentials(port: int) -> dict[str, str]:
    """Return the environment variables with which a client finds the server."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


class Network:
    """A slow or failing network before a server.

    Args:
        port: The port of the server.
        delay_s: How much longer every request takes.
        most_bytes: After so many bytes of answers, all connections are cut, and no new one is accepted.

    Attributes:
        busiest: The largest number of simultaneous requests.
    """

    def __init__(self, port: int, *, delay_s: float = 0.0, most_bytes: float = float("inf")) -> None:
        self._to, self._delay_s, self._left = port, delay_s, most_bytes
        self._lock = threading.Lock()
        self._waiting = self.busiest = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._left <= 0:
                    client.close()
                    continue
                upstream = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._requests, args=(client, upstream), daemon=True).start()
                threading.Thread(target=self._answers, args=(upstream, client), daemon=True).start()

    def _requests(self, client: socket.socket, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                with self._lock:
                    self._waiting += 1
                    self.busiest = max(self.busiest, self._waiting)
                time.sleep(self._delay_s)
                with self._lock:
                    self._waiting -= 1
                upstream.sendall(data)
        _close(upstream)

    def _answers(self, upstream: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                with self._lock:
                    self._left -= len(data)
                if self._left <= 0:
                    break
                client.sendall(data)
        _close(client)

    def close(self) -> None:
        self._listener.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
