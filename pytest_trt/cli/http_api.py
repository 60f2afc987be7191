"""Call the JSON API of a code host: with its rate limits, without redirects, and without a token in any message."""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import Any

from pytest_trt.core.foreign_text import escape
from pytest_trt.core.scalars import short_repr
from pytest_trt.core.version import __version__
from pytest_trt.errors import CommentError

PER_PAGE = 100
MAX_PAGES = 100
"""At most 10,000 comments are searched."""

_MAX_TRIES = 5
_TIMEOUT_S = 30.0
_MAX_ANSWER = 64 << 20
_MAX_MESSAGE = 300
_TEMPORARY = frozenset((0, 500, 502, 503, 504))
"""The statuses after which the same request may succeed; 0 is a connection that failed."""


class Refused(Exception):
    """The host answered with an error.

    Args:
        status: The status of HTTP; 0 if there was no answer.
        message: What the host says.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}" if status else message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer of the host: its status, its headers, and its JSON."""

    status: int
    headers: Message
    data: Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which could lead the token to another host."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Return nothing, so that the redirect is an error."""


class Api:
    """The API at `url`.

    Args:
        url: The address of the API.
        variable: The name of the environment variable with the address, for errors.
        header: The name of the header that has the token, and what comes before the token in it.
        token: The token.
        wait_s: How long to wait for a rate limit, in all.
        sleep: Waits so many seconds.

    Raises:
        CommentError: The address is no address of a web server, or the token has characters that no token has.
    """

    def __init__(
        self,
        url: str,
        variable: str,
        header: tuple[str, str],
        token: str,
        wait_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise CommentError(f"{variable} is {short_repr(url)}: it must be the address of the API, with https://")
        token = token.strip()
        if not token.isascii() or not token.isprintable() or " " in token:
            raise CommentError("the token has spaces or characters that no token has: set its variable again")
        self._url, self._token, self._wait_s, self._sleep = url.rstrip("/"), token, wait_s, sleep
        self._headers = {
            header[0]: header[1] + token,
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": f"pytest-trt/{__version__}",
        }
        self._opener = urllib.request.build_opener(_NoRedirect)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str | int) -> Answer:
        """Send a request and return the answer, after as many tries as rate limits and failures need.

        A POST is repeated only after a rate limit: after any other failure, it may have been done.

        Raises:
            Refused: The host answers with an error, or cannot be reached.
            CommentError: A rate limit lasts longer than the time to wait for it.
        """
        text = f"{self._url}{path}?{urllib.parse.urlencode(query)}" if query else f"{self._url}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(text, data, self._headers, method=method)
        waited = 0.0
        for attempt in range(1, _MAX_TRIES + 1):
            answer = self._send(request)
            delay = _limit_delay_s(answer)
            if delay is None and answer.status in _TEMPORARY and method != "POST":
                delay = 2.0 ** (attempt - 1)
            if delay is None or attempt == _MAX_TRIES:
                break
            if waited + delay > self._wait_s:
                raise CommentError(
                    f"the host asks to wait {delay:.0f} s (HTTP {answer.status}: {self._message(answer)}), and --wait "
                    f"allows {self._wait_s:g} s: run the command again later, or allow more"
                )
            waited += delay
            self._sleep(delay)
        if not 200 <= answer.status < 300:
            raise Refused(answer.status, self._message(answer))
        return answer

    def pages(self, path: str, **query: str) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a list, page by page. Raise as `call`."""
        for page in range(1, MAX_PAGES + 1):
            answer = self.call("GET", path, None, per_page=PER_PAGE, page=page, **query)
            if not isinstance(answer.data, list):
                raise Refused(answer.status, f"{path} is no list")
            yield from (entry for entry in answer.data if isinstance(entry, dict))
            if not answer.data or (len(answer.data) < PER_PAGE and 'rel="next"' not in answer.headers.get("Link", "")):
                return

    def _send(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as reply:
                return Answer(reply.status, reply.headers, _parse(reply.read(_MAX_ANSWER)))
        except urllib.error.HTTPError as error:
            with error, contextlib.suppress(OSError, http.client.HTTPException):
                return Answer(error.code, error.headers, _parse(error.read(_MAX_ANSWER)))
            return Answer(error.code, error.headers, None)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address such as http://[
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            return Answer(0, Message(), {"message": f"{self._url} cannot be reached: {reason}"})

    def _message(self, answer: Answer) -> str:
        """Return what the host says about an error, without the token."""
        if 300 <= answer.status < 400:
            return f"it redirects to {self._shown(answer.headers.get('Location', 'nowhere'))}, which is not followed"
        found = answer.data if isinstance(answer.data, dict) else {}
        text = found.get("message") or found.get("error_description") or found.get("error") or "no reason"
        return self._shown(text if isinstance(text, str) else json.dumps(text))

    def _shown(self, text: str) -> str:
        return escape((text.replace(self._token, "***") if self._token else text)[:_MAX_MESSAGE])


def _parse(data: bytes) -> Any:
    """Return the JSON, or None if it is none: a proxy may answer with a page."""
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None


def _limit_delay_s(answer: Answer) -> float | None:
    """Return how long the host asks to wait, in seconds; None if it does not."""
    headers = answer.headers
    spent = "0" in (headers.get("X-RateLimit-Remaining"), headers.get("RateLimit-Remaining"))
    after = headers.get("Retry-After")
    if not (answer.status == 429 or (answer.status in (403, 503) and after) or (answer.status == 403 and spent)):
        return None
    if after and after.strip().isdecimal():
        return float(after)
    if after:
        with contextlib.suppress(TypeError, ValueError):
            return max(email.utils.parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
    reset = headers.get("X-RateLimit-Reset") or headers.get("RateLimit-Reset") or ""
    return max(float(reset) - time.time(), 0.0) if reset.isdecimal() else 60.0
