"""Errors that a user can correct, one class for each part of the package: each says what is wrong and what to do."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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


@contextmanager
def library_errors(words: str, kind: type[TaskArithError] = CheckpointError) -> Iterator[None]:
    """Turns whatever a library raises for a damaged file into an error that names the file.

    transformers, tokenizers, sentencepiece and PEFT have no common error; a panic of tokenizers is not an Exception.

    Args:
        words: The start of the message, which names the file and what it was to be.
        kind: The class to raise.
    """
    try:
        yield
    except TaskArithError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = " ".join(str(error).split())
        raise kind(f"{words} ({type(error).__name__}{': ' if said else ''}{said[:300]})") from error


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def some(items: Sequence[object], separator: str = ", ") -> str:
    """Returns the first five items as text, with " …" where there are more."""
    return separator.join(map(str, items[:5])) + (" …" if len(items) > 5 else "")


def what_to_do(error: BaseException) -> str:
    """Returns what to do where a file cannot be read: not all failures are of the file."""
    said = str(error)
    if "Too many open files" in said:
        return "The process may not open more files: raise the limit, such as ulimit -n 4096"
    if isinstance(error, MemoryError) or "Cannot allocate memory" in said or "can't allocate memory" in said:
        return "Memory is at an end: free some, or raise the limit (ulimit -v)"
    return "Is the download complete?"


def printable(text: str) -> str:
    """Returns a text with control characters as their codes: a name in somebody's file must not steer a terminal."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
