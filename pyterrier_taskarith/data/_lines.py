"""Text files line by line; every error names the file, the line and what stands there."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyterrier as pt

from pyterrier_taskarith.errors import DataError

#: Characters of a faulty line that an error shows.
SHOWN = 80


class Line(NamedTuple):
    """A line of a file: its number from 1, its first byte, and its text without the line feed."""

    path: Path
    number: int
    start: int
    text: str

    @property
    def where(self) -> str:
        """The file and the line, in words."""
        return f"{self.path}, line {self.number}"


def lines(path: Path) -> Iterator[Line]:
    """Yields the lines that are not blank, of a ``.gz`` too.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If a line is not UTF-8, or the file cannot be unpacked.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    start = number = 0
    try:
        # bytes, so that only a line feed ends a line
        with pt.io.autoopen(str(path), "rb") as file:  # type: ignore[no-untyped-call]
            for number, raw in enumerate(file, 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield Line(path, number, start, text)
                start += len(raw)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 (byte {error.start}): {error.object[:SHOWN]!r}.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}, line {number}: the file cannot be unpacked from there on ({error}); was it "
                        "downloaded to its end? Fetch it again.") from None


def json_lines(path: Path) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Yields each line that is not blank with the JSON object that it holds."""
    for line in lines(path):
        yield line, json_object(line.text, line.where)


def json_object(line: str, where: str) -> dict[str, Any]:
    """Returns the JSON object that a line holds.

    Raises:
        DataError: If it holds something else.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg}): {line[:SHOWN]!r}.") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object: {line[:SHOWN]!r}.")
    return record


def identifier(record: dict[str, Any], key: str, where: str) -> str:
    """Returns a name or whole number as str.

    Raises:
        DataError: If it is something else.
    """
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(f"{where}: {key!r} must be a name or a whole number, and is {value!r}{_fields(record, key)}.")
    return str(value).strip()


def string(record: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
    """Returns a text.

    Raises:
        DataError: If it is something else, or absent where there is no default.
    """
    value = record.get(key)
    value = default if value is None and default is not None else value
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be a text, and is {value!r}{_fields(record, key)}.")
    return value


def _fields(record: dict[str, Any], key: str) -> str:
    """Returns, where a field is missing, which there are, in words."""
    return "" if key in record else f"; the line has the fields {', '.join(map(repr, record)) or '(none)'}"
