"""The addresses of hosts elsewhere: what --trt-host names, and the command that starts Python there."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pytest_trt.core.validation import suggest
from pytest_trt.errors import DeclarationError

_FORMS = (
    "ssh://gpu01?python=/opt/venv/bin/python, exec: and a command that starts Python there, or ray; or off, alone, for "
    "this host"
)

NO_HOSTS = "off"
"""The value that overrides the hosts of an ini file: engines run on this host."""

SSH_START_S = 60.0
"""How long `ssh` may take until Python has started, in seconds."""

EXEC_START_S = 600.0
"""How long any other command may take until then, in seconds: a scheduler's may wait for a free node."""

_QUERY = {"python": "python3", "config": "", "cache": ""}
"""What an ssh:// address may name, with the defaults."""

_RAY_QUERY = {"accelerator_type": "", "num_gpus": "1"}
"""What an address of Ray may name, with the defaults."""


@dataclasses.dataclass(frozen=True)
class HostAddress:
    """A frozen record of how a host elsewhere is reached.

    Attributes:
        name: The host's name in messages and reports.
        command: The command that starts Python there, to which the interpreter's arguments are appended.
        quotes: Whether a shell there splits the command, so that its arguments are quoted.
        cache: The folder of the engine cache there; empty for the user's.
        start_s: How long the command may take until Python has started, in seconds.
        address: The option that names it, from whichever folder.
        is_lease: Whether each link leads to a card of its own, which a scheduler chooses.
    """

    name: str
    command: tuple[str, ...]
    quotes: bool = False
    cache: str = ""
    start_s: float = SSH_START_S
    is_lease: bool = False
    address: str = dataclasses.field(default="", compare=False)

    def with_arguments(self, *arguments: str) -> list[str]:
        """Return the command with arguments for the interpreter."""
        return [*self.command, *(map(shlex.quote, arguments) if self.quotes else arguments)]


def parse_host(value: str, flag: str) -> HostAddress:
    """Return the address that an option names.

    Args:
        value: `ssh://[USER@]HOST[:PORT][?python=PATH&config=PATH&cache=PATH]`, `exec:COMMAND`, or
            `ray[://HOST:PORT][?accelerator_type=NAME&num_gpus=N]`.
        flag: The option, for errors.

    Raises:
        DeclarationError: It is neither, or names something that is not known.
    """
    text = value.strip()
    if text.startswith("ssh://"):
        return _parse_ssh(text, flag)
    if re.match(r"ray(://|\?|$)", text):
        return _parse_ray(text, flag)
    if text.startswith("exec:"):
        try:
            words = shlex.split(text.removeprefix("exec:"))
        except ValueError as error:
            raise DeclarationError(f"{flag} is {value!r}: its quotes do not match ({error})") from error
        if words:
            return HostAddress(
                shlex.join(words),
                tuple(words),
                quotes=words[0].rpartition("/")[2] == "ssh",
                start_s=EXEC_START_S,
                address=f"exec:{shlex.join(map(_absolute, words))}",
            )
    raise DeclarationError(f"{flag} is {value!r}: give {_FORMS}")


def _parse_ssh(text: str, flag: str) -> HostAddress:
    try:
        parts = urlsplit(text)
        port, pairs = parts.port, parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise DeclarationError(f"{flag} is {text!r}, which is no address ({error}): give {_FORMS}") from error
    host, user = parts.hostname or "", parts.username or ""
    # Neither may look like an option of ssh.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._:%-]*", host) or not re.fullmatch(r"([\w.][\w.-]*)?", user):
        raise DeclarationError(f"{flag} is {text!r}, which names no host: give {_FORMS}")
    if parts.password or parts.path.strip("/") or parts.fragment:
        raise DeclarationError(f"{flag}: an ssh:// address has only a user, a host, a port and a query: give {_FORMS}")
    query = _query(pairs, _QUERY, flag, "an ssh:// address")
    command = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
    command += ["-F", query["config"]] if query["config"] else []
    command += ["-p", str(port)] if port is not None else []
    command += [f"{user}@{host}" if user else host, shlex.quote(query["python"])]
    name = host if port is None else f"{host}:{port}"
    anywhere = urlencode([(key, _absolute(found) if key == "config" else found) for key, found in pairs])
    address = urlunsplit(("ssh", parts.netloc, "", anywhere, ""))
    return HostAddress(name, tuple(command), quotes=True, cache=query["cache"], address=address)


def _parse_ray(text: str, flag: str) -> HostAddress:
    address, _, query_text = text.partition("?")
    try:
        pairs = parse_qsl(query_text, keep_blank_values=True, strict_parsing=bool(query_text))
    except ValueError as error:
        raise DeclarationError(f"{flag} is {text!r}, which is no address ({error}): give {_FORMS}") from error
    query = _query(pairs, _RAY_QUERY, flag, "an address of Ray")
    if not re.fullmatch(r"\d+(\.\d+)?", query["num_gpus"]):
        raise DeclarationError(f"{flag}: num_gpus is {query['num_gpus']!r}: give a number, such as 1")
    options: dict[str, object] = {"address": "auto" if address == "ray" else address}
    options["num_gpus"] = float(query["num_gpus"])
    if query["accelerator_type"]:
        options["accelerator_type"] = query["accelerator_type"]
    command = (sys.executable, "-m", "pytest_trt.trial.hosts.ray_lease", json.dumps(options))
    return HostAddress(text, command, start_s=EXEC_START_S, is_lease=True, address=text)


def _absolute(word: str) -> str:
    """Return the absolute path of a file that exists here; anything else unchanged."""
    return str(Path(word).absolute()) if "/" in word and Path(word).is_file() else word


def _query(pairs: list[tuple[str, str]], known: Mapping[str, str], flag: str, what: str) -> dict[str, str]:
    """Return the values of a query, with the defaults in `known`."""
    query = dict(known)
    for name, found in pairs:
        if name not in query:
            may = f"{what} may name {', '.join(query)}"
            raise DeclarationError(f"{flag} names {name!r}: {suggest(name, query, may)}")
        if not found:
            raise DeclarationError(f"{flag}: {name} is empty: give it a value")
        query[name] = found
    return query
