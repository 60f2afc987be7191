"""The errors that pytest-trt raises on purpose.

A message says what happened, shows the value, and names the remedy.
"""

from __future__ import annotations

from pytest_trt.core.foreign_text import escape


class TrtError(Exception):
    """The base class of all errors that pytest-trt raises on purpose.

    A line break inside an argument is escaped, because it comes from elsewhere: from a name in a model, a path, or a
    library. So are control characters and CI commands (see `core.foreign_text`).

    Args:
        *lines: The message. Each argument is one line of it.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(escape, lines))

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))

    @classmethod
    def from_text(cls, text: str) -> TrtError:
        """Return an error whose message has the line breaks of `text`, which includes the text of another error."""
        return cls(*text.split("\n"))


class DeclarationError(TrtError):
    """An invalid marker, option, setting or spec. This is a usage error (exit status 4)."""


class ModelError(TrtError):
    """A model that is missing or broken, or that lacks a requested input, dimension or shape."""


class BackendError(TrtError):
    """A backend or device that is missing, does not work, or lacks a requested feature."""


class BuildError(TrtError):
    """An engine that could not be built. The message includes what the parser or builder reported."""


class InputError(TrtError):
    """Arrays passed to a runner that do not fit the engine: a wrong name, dtype, shape or content."""


class CacheError(TrtError):
    """An engine cache that cannot be used: missing permissions, a full disk, or modified content."""


class BaselineError(TrtError):
    """A stored baseline that cannot be read or written. The message names the file and the field."""


class GitError(TrtError):
    """A git command that failed, a folder outside any repository, or an unknown revision."""


class CommentError(TrtError):
    """A comment on a pull or merge request that cannot be written. The message names the missing variable or right."""


class RecordError(TrtError):
    """Data that does not have the form of its record. The message names the field."""


class ProbeError(TrtError):
    """A probe that crashed, hung, ran out of memory or was lost. The message includes its last output."""


class HostError(ProbeError):
    """A host elsewhere (--trt-host) that cannot be reached, cannot run engines, or was lost. The message names it."""
