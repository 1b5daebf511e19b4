"""Text files line by line; every error names the file, the line and what stands there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Characters of a faulty line that an error shows.
SHOWN = 80


def placed_lines(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yields the lines that are not blank: the words that say where it stands, its first byte, and the line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The collection lacks the file {path}.")
    start = 0
    with path.open("rb") as file:  # bytes, so that only a line feed ends a line
        for number, raw in enumerate(file, 1):
            where = f"{path}, line {number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}: not UTF-8 (byte {error.start}): {raw[:SHOWN]!r}.") from None
            if line.strip():
                yield where, start, line
            start += len(raw)


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields the lines that are not blank, each with the words that say where it stands."""
    for where, _, line in placed_lines(path):
        yield where, line


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the JSON object of each line that is not blank, with the words that say where it stands."""
    for where, line in lines(path):
        yield where, json_object(line, where)


def json_object(line: str, where: str) -> dict[str, Any]:
    """Returns the JSON object that a line holds.

    Raises:
        ValueError: If it holds something else.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg}): {line[:SHOWN]!r}.") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: not a JSON object: {line[:SHOWN]!r}.")
    return record


def identifier(record: dict[str, Any], key: str, where: str) -> str:
    """Returns a name or whole number as str.

    Raises:
        ValueError: If it is something else.
    """
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"{where}: {key!r} must be a name or a whole number, and is {value!r}"
                         f"{_fields(record, key)}.")
    return str(value).strip()


def string(record: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
    """Returns a text.

    Raises:
        ValueError: If it is something else, or absent where there is no default.
    """
    value = record.get(key)
    value = default if value is None and default is not None else value
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key!r} must be a text, and is {value!r}{_fields(record, key)}.")
    return value


def _fields(record: dict[str, Any], key: str) -> str:
    """Returns, where a field is missing, which there are, in words."""
    return "" if key in record else f"; the line has the fields {', '.join(map(repr, record)) or '(none)'}"


def whole_number(value: str, where: str) -> int:
    """Returns a label.

    Raises:
        ValueError: If it is no whole number.
    """
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{where}: the label must be a whole number, and is {value!r}.") from None
