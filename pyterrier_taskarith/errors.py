"""Errors that a user can correct, one class for each part of the package: each says what is wrong and what to do."""


class TaskArithError(ValueError):
    """The base of all errors of this package: an argument, a file or a frame cannot be used as it is."""


class CheckpointError(TaskArithError):
    """A checkpoint cannot be read: the message names the file or tensor."""


class MergeError(TaskArithError):
    """Weights cannot be combined as requested: the message names the tensors."""


class ScorerError(TaskArithError):
    """Text cannot be scored as requested: the message names what is missing."""


class DataError(TaskArithError):
    """Topics, judgements, a run or documents cannot be used: the message names the file and line, or the column."""


class CacheError(TaskArithError, RuntimeError):
    """A cache cannot be read or written: the message names the file."""


class WrongTypeError(TaskArithError, TypeError):
    """An argument has the wrong type."""


class SetupError(TaskArithError, RuntimeError):
    """Something outside the package is missing or unusable, such as Java."""


class MissingPackageError(TaskArithError, ImportError):
    """An optional package is not installed: the message says how to install it."""
