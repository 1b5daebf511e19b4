"""The sha256 of weight files, each computed once."""

import hashlib
import json
import re
from pathlib import Path

from pyterrier_taskarith._files import home, new_file

#: What could not be remembered on the disk.
_REMEMBERED: dict[Path, str] = {}
_BLOB = re.compile(r"^[0-9a-f]{64}$")


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file, which is computed only where it is not known yet."""
    known = known_sha256(path)
    if known is not None:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    remember_sha256(path, digest)
    return digest


def known_sha256(path: Path) -> str | None:
    """Returns the sha256 of a file without reading it, or None.

    The hub cache's blob name tells it where the file is a link to one; else an earlier run may have remembered it by
    path, size, modification time and inode.
    """
    target = path.resolve()
    if path.is_symlink() and target.parent.name == "blobs" and _BLOB.match(target.name):
        return target.name
    memory = _memory(target)
    known = memory.read_text() if memory.is_file() else _REMEMBERED.get(memory, "")
    return known if _BLOB.match(known) else None


def remember_sha256(path: Path, digest: str) -> None:
    """Remembers the sha256 of a file; on a read-only disk until this process ends."""
    memory = _memory(path.resolve())
    try:
        with new_file(memory) as temporary:
            temporary.write_text(digest)
    except OSError:
        _REMEMBERED[memory] = digest


def _memory(target: Path) -> Path:
    stat = target.stat()
    key = f"{target}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
    return home() / "sha256" / hashlib.sha256(key.encode()).hexdigest()


def combined(parts: list[tuple[str, str]]) -> str:
    """Returns one sha256 for several named ones."""
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()
