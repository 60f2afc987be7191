"""The location of baselines, a folder or an fsspec URL, which never shows the credentials in its URL."""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

HIDDEN = "***"
"""The text that replaces a credential."""

WITHHELD = "its text is not shown, because it may repeat the credentials in the URL"
"""The text that replaces an error which may contain a credential in a form that cannot be found."""

_MIN_REPLACED = 4
"""A shorter credential may be a part of any word, so a text that contains it is withheld as a whole."""

_MIN_TOKEN = 8
"""A user name of this length may be a token, although a password follows it."""

_SCHEME = re.compile(r"(?:[A-Za-z0-9+.-]+::)*([A-Za-z][A-Za-z0-9+.-]*)://")
"""The start of a URL, with the protocols that fsspec chains before it: `simplecache::s3://`."""

_URL_IN_TEXT = re.compile(_SCHEME.pattern + r"[^\s'\"<>`]*")
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.%]*\]|[^:]*)(?::\d*)?")
"""A host and port without credentials."""

_AZURE_CONTAINER = re.compile(r"[a-z0-9$-]+@[a-z0-9-]+\.(?:dfs|blob)\.[a-z.]+")
_AZURE = frozenset(("abfs", "abfss", "az", "wasb", "wasbs"))
_AZURE_FIELDS = frozenset((
    "sv", "ss", "srt", "sp", "se", "st", "spr", "sr", "si", "sip", "sdd", "ske", "skt", "sks", "skv",
))  # fmt: skip
"""The fields of a shared access signature of Azure that describe it. Many are one letter; `sig` is the credential."""

_LOCAL = frozenset(("file", "local"))

_QUERY_CREDENTIAL = re.compile(r"(?i)[?&;#][^=&;#\s]*(?:sig|token|key|secret|pass|pwd|auth|cred)[^=&;#\s]*=")
_SECRET_OPTION = re.compile(r"(?i)token|secret|passw|pwd|credential|api-?_?key|auth(?!or)")
_SIMPLE = re.compile(r"[A-Za-z0-9._~!$&()*+,;=@/:?#%^|-]*")
"""Credentials of these characters look the same in every library's text. Others may be quoted in it."""


class Location:
    """The place of a folder of baselines: a path, or an fsspec URL.

    Its text is the URL with `***` in place of user name, password, query and fragment. Only `reveal` returns the
    credentials, for the library that connects.

    Args:
        text: The path or URL.
    """

    __slots__ = ("__raw", "_shown", "is_url", "protocol")

    def __init__(self, text: str) -> None:
        self.__raw = text
        self._shown = mask_url(text)
        self.is_url = "://" in text
        self.protocol = self._shown.partition("://")[0] if self.is_url else ""

    def reveal(self) -> str:
        """Return the path or URL with its credentials. Pass it to the library that connects, and keep it nowhere."""
        return self.__raw

    @property
    def has_credentials(self) -> bool:
        """Whether the URL contains anything that its text hides."""
        return self._shown != self.__raw

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Location({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Location) and self.__raw == other.reveal()

    def __hash__(self) -> int:
        return hash(self.__raw)

    def split_name(self) -> tuple[Location, str]:
        """Return the location without a `#NAME` at its end, and the name, which is empty if there is none."""
        head, mark, name = self.__raw.rpartition("#")
        if not mark or set(name) & set("@/?&="):
            return self, ""
        return Location(head), name

    def hide_in(self, text: str) -> str:
        """Return a library's text without the credentials of this URL.

        Returns:
            The text, with `***` in place of each credential. It is WITHHELD if the text may contain a credential in
            another form, or one that is too short to be found.
        """
        hidden = _hidden_parts(self.__raw)
        if hidden is None or (self.has_credentials and not hidden):
            return WITHHELD
        forms = {form for part in hidden for form in _forms(part)}
        if not all(map(_SIMPLE.fullmatch, forms)):
            return WITHHELD
        if any(len(form) < _MIN_REPLACED and form.lower() in text.lower() for form in forms):
            return WITHHELD
        for form in sorted(forms, key=len, reverse=True):
            text = re.sub(re.escape(form), HIDDEN, text, flags=re.IGNORECASE)
        return text


@contextlib.contextmanager
def hidden_in_logs(location: Location) -> Iterator[None]:
    """Hide the credentials of `location` in what libraries log during the block, in any thread."""
    if not location.has_credentials:
        yield
        return
    create = logging.getLogRecordFactory()

    def create_hidden(*args: Any, **fields: Any) -> logging.LogRecord:
        record = create(*args, **fields)
        record.msg, record.args = location.hide_in(record.getMessage()), None
        if record.exc_info is not None:
            record.exc_info = None
            record.msg += " (the traceback is not shown)"
        return record

    logging.setLogRecordFactory(create_hidden)
    try:
        yield
    finally:
        logging.setLogRecordFactory(create)


def mask_url(url: str) -> str:
    """Return `url` with `***` in place of user name, password, query and fragment. Return a path as it is.

    A URL that can be read in several ways is hidden as a whole, except for its protocol.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return f"{HIDDEN}://{HIDDEN}" if "://" in url else url
    parts = _split(url)
    if parts is None:
        return f"{scheme[0]}{HIDDEN}"
    user_info, shown, tail = parts
    return f"{scheme[0]}{HIDDEN + '@' if user_info else ''}{shown}{tail[:1] + HIDDEN if tail else ''}"


def mask_urls(text: str) -> str:
    """Return a text with the credentials of each URL in it replaced by `***`."""
    if "://" not in text:
        return text
    return _URL_IN_TEXT.sub(_mask_match, text)


def mask_command(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a command, with `***` in place of credentials in URLs and of the values of secret options."""
    masked: list[str] = []
    hides_next, before = False, ""
    for word in words:
        name, equals, _ = word.partition("=")
        is_option = word.startswith("--") or before in ("-o", "--override-ini")  # and not a part of a test's name
        is_secret = is_option and bool(_SECRET_OPTION.search(name))
        scheme = _SCHEME.search(word)
        if hides_next or (is_secret and equals):
            masked.append(HIDDEN if hides_next else f"{name}={HIDDEN}")
        else:
            masked.append(word[: scheme.start()] + mask_url(word[scheme.start() :]) if scheme else word)
        hides_next, before = is_secret and not equals and not hides_next, word
    return tuple(masked)


def _mask_match(match: re.Match[str]) -> str:
    url = match[0]
    if _QUERY_CREDENTIAL.search(url):
        return mask_url(url)
    if "@" not in url:
        return url
    parts = _split(url)
    user_info, shown, tail = parts if parts is not None else ("", HIDDEN, "")
    start = url[: match.end(1) - match.start() + len("://")]
    return f"{start}{HIDDEN + '@' if user_info else ''}{shown}{tail}"


def _split(url: str) -> tuple[str, str, str] | None:
    """Return the user information, what may be shown, and query and fragment; None if the URL is ambiguous.

    A password may contain `@`, `/`, `?` and `#`, so the user information ends at the last `@`.
    """
    scheme = _SCHEME.match(url)
    assert scheme is not None
    protocol, rest = scheme[1].lower(), url[scheme.end() :]
    authority = re.split(r"[/?#;]", rest, maxsplit=1)[0]
    if _has_no_user_info(protocol, authority, rest):
        at = -1
    else:
        at = rest.rfind("@")
        if at < 0 and not _AUTHORITY.fullmatch(authority):
            return None
    if set(rest[: at + 1]) & set("?#;"):  # Either the password or the query contains the `@`.
        return None
    shown = re.split(r"[?#;]", rest[at + 1 :], maxsplit=1)[0]
    return rest[: max(at, 0)], shown, rest[at + 1 + len(shown) :]


def _has_no_user_info(protocol: str, authority: str, rest: str) -> bool:
    """Return whether an `@` in the URL belongs to a path on this disk, or separates Azure's container and account."""
    if protocol in _AZURE and _AZURE_CONTAINER.fullmatch(authority):
        return True
    return protocol in _LOCAL and rest.startswith("/")


def _hidden_parts(url: str) -> list[str] | None:
    """Return the credentials in a URL; None if libraries may cut them into pieces."""
    if _SCHEME.match(url) is None:
        return None if "://" in url else []
    parts = _split(url)
    if parts is None or set(parts[0]) & set("/@[]"):
        return None
    user_info, _, tail = parts
    found = []
    if user_info:
        user, _, password = user_info.partition(":")
        is_token = password in ("", "x-oauth-basic") or len(user) >= _MIN_TOKEN
        found = [user_info, password, *([user] if is_token else [])]
    for field in re.split(r"[?#;&]", tail):
        name, equals, value = field.partition("=")
        if name not in _AZURE_FIELDS:
            found.append(value if equals else field)
    return list(filter(None, found))


def _forms(part: str) -> Iterator[str]:
    """Yield a credential as a library may write it: quoted, unquoted, and in an HTTP header."""
    plain = urllib.parse.unquote(part)
    yield from (part, plain, urllib.parse.unquote_plus(part), urllib.parse.quote(plain, safe=""))
    yield from (base64.b64encode(form.encode("utf-8", "surrogatepass")).decode() for form in (part, plain))
