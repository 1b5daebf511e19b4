"""The sha256 of weight files, computed once a file."""

import hashlib
import json
import os
import re
from pathlib import Path

from pyterrier_taskarith._home import home

_BLOB = re.compile(r"^[0-9a-f]{64}$")


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file.

    Taken from the hub cache's blob name where the file is a link to one; else remembered by path, size,
    modification time and inode; else computed and remembered.
    """
    target = path.resolve()
    if path.is_symlink() and target.parent.name == "blobs" and _BLOB.match(target.name):
        return target.name
    stat = target.stat()
    key = f"{target}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
    memory = home() / "sha256" / hashlib.sha256(key.encode()).hexdigest()
    if memory.is_file():
        known = memory.read_text()
        if _BLOB.match(known):
            return known
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _remember(memory, digest)
    return digest


def _remember(memory: Path, digest: str) -> None:
    """Writes one hash; on a read-only disk it is computed again next time."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(digest)
        temporary.replace(memory)
    except OSError:
        return


def combined(parts: list[tuple[str, str]]) -> str:
    """Returns one sha256 for several named ones."""
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()
