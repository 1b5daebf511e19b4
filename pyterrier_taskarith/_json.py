"""JSON files that anyone may have written: read within a limit, and checked against the types that are expected."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyterrier_taskarith.errors import CheckpointError, TaskArithError

#: Bytes of a file of settings, at most; those of published models take up to some 200 KB.
MOST = 8 * 2**20

Types = Mapping[str, type | tuple[type, ...]]

_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
          dict: "an object"}


def read_json(path: Path, error: type[TaskArithError] = CheckpointError) -> Any:
    """Returns the content of a JSON file.

    Args:
        path: The file.
        error: The class to raise.

    Raises:
        FileNotFoundError: If there is none.
        TaskArithError: If it cannot be read, is larger than :data:`MOST`, or is not JSON; of the class given.
    """
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"more than {MOST} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as cause:
        raise error(f"{path} is not JSON ({cause})") from cause


def read_object(path: Path, types: Types | None = None, error: type[TaskArithError] = CheckpointError
                ) -> dict[str, Any]:
    """Returns the content of a JSON file that holds one object.

    Args:
        path: The file.
        types: Key -> the Python types that its value may have; null is always taken. Other keys are not checked.
        error: The class to raise.

    Raises:
        FileNotFoundError: If there is none.
        TaskArithError: As for :func:`read_json`, or if it is not an object, or a value has another type.
    """
    content = read_json(path, error)
    if not isinstance(content, dict):
        raise error(f"{path} is not a JSON object (but a {type(content).__name__})")
    check_types(path, content, types or {}, error)
    return content


def check_types(path: Path, content: Mapping[str, Any], types: Types, error: type[TaskArithError] = CheckpointError
                ) -> None:
    """Checks the types of values.

    Raises:
        TaskArithError: Of the class given, naming file, key and value.
    """
    for key, expected in types.items():
        value, allowed = content.get(key), expected if isinstance(expected, tuple) else (expected,)
        # In Python true is a whole number; in these files it is not.
        fits = type(value) in allowed or isinstance(value, int) and not isinstance(value, bool) and float in allowed
        if value is not None and not fits:
            said = json.dumps(value, ensure_ascii=False)
            raise error(f"{path}: {key} = {said if len(said) <= 60 else said[:59] + '…'} must be "
                        f"{' or '.join(_WORDS[one] for one in allowed)}")
