"""Every error that pytest-trt raises on purpose. A message says what happened, the value, and the remedy."""


class TrtError(Exception):
    """The base of all of them; catching it catches whatever pytest-trt has to say."""


class DeclarationError(TrtError):
    """What a marker, an option or a spec says cannot be meant: a usage error, exit status 4."""


class ModelError(TrtError):
    """A model is missing, broken, or does not have the input, dimension or shape that was asked for."""


class BackendError(TrtError):
    """A backend or device is absent, does not work, or cannot do what was asked."""


class BuildError(TrtError):
    """An engine could not be built; the message carries the parser's or builder's own words."""


class InputError(TrtError):
    """Arrays handed to a runner do not fit the engine: name, dtype, shape or content."""


class CacheError(TrtError):
    """The engine cache cannot be used as it is: permissions, space, or content that was tampered with."""


class BaselineError(TrtError):
    """A stored baseline cannot be read or written; names file and field."""


class GitError(TrtError):
    """Git cannot be run, is given no repository, or does not know a revision."""


class RecordError(TrtError):
    """Data does not have the form of the record it should be; names the field."""


class ProbeError(TrtError):
    """A probe crashed, hung, ran out of memory or was lost; carries what it last said."""
