"""The package's own folder, files and folders that appear all at once, and the hashes of files."""

import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

#: Errors of a rename onto something that exists; EACCES is Windows'.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EACCES)
#: Errors of disks that cannot flush folders.
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP)
#: Hashes that could not be written to the disk.
_REMEMBERED: dict[Path, str] = {}
_BLOB = re.compile(r"^[0-9a-f]{64}$")


def home() -> Path:
    """Returns the package's cache folder: ``$TASKARITH_HOME``, else ``taskarith`` in the user's cache folder.

    It holds what can be made again: hashes of files, indexes, unpacked collections.
    """
    own = os.environ.get("TASKARITH_HOME")  # an empty one is as if it were not set
    return Path(own or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "taskarith")).expanduser()


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Gives a temporary path; where the block ends well, the file written there replaces the target.

    Args:
        target: The file to make or replace; through a link, the file that it leads to. Its folder is made where there
            is none.

    Yields:
        The path to write to.

    Raises:
        OSError: If the disk is read-only or full; the target is then as it was, and nothing else is left behind.
    """
    target = _resolved(target)
    with _scratch(target) as folder:
        written = folder / target.name
        yield written
        _to_disk(written)
        os.replace(written, target)
        _to_disk(target.parent)


@contextmanager
def new_folder(target: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Gives a temporary folder; where the block ends well, it becomes the target.

    Args:
        target: It does not exist, is an empty folder, or is to be replaced.
        replaces: Whether a folder with files in it is replaced.

    Yields:
        The folder to fill.

    Raises:
        FileExistsError: If there is something else at the target when the block ends.
        OSError: If the disk is read-only or full; the target is then as it was, and nothing else is left behind.
    """
    target = _resolved(target)
    with _scratch(target) as folder:
        filled = folder / "new"
        filled.mkdir()
        yield filled
        for path in [*filled.rglob("*"), filled]:
            _to_disk(path)
        _put(filled, target, folder / "old", replaces)
        _to_disk(target.parent)


def _put(filled: Path, target: Path, aside: Path, replaces: bool) -> None:
    with suppress(OSError):
        target.rmdir()  # an empty folder, which Windows renames nothing over
    while True:
        try:
            os.replace(filled, target)
            break
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            if not replaces or target.is_file():
                raise FileExistsError(f"{target} was made by something else meanwhile; it is left as it is") from error
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):  # another process has put it aside
            os.replace(target, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _resolved(target: Path) -> Path:
    """Returns what a path leads to."""
    if "\0" in str(target):
        raise OSError(errno.EINVAL, "a path cannot hold a null character", str(target))
    return Path(os.path.realpath(target))


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Gives a folder beside the target, removed at the end; those that killed writers left are removed first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_left(target)
    lock = _lock(target)
    folder = Path(lock.lock_file).with_suffix(".tmp")
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        if error.filename is None and error.errno is not None:  # calls on descriptors leave the name out
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error
        raise
    finally:
        _remove(folder, target, lock)


def remove_left(target: Path) -> None:
    """Removes what killed writers of a file or folder left beside it.

    A writer holds a lock from before its temporary folder is there until after it is gone. The kernel releases a lock
    when its process dies, however it dies, so that what was left can be told from what is being written.

    Args:
        target: What was being written; through a link, what it leads to.
    """
    target = _resolved(target)
    for left in target.parent.glob(f".{glob.escape(_short(target.name))}.{'[0-9a-f]' * 8}.lock"):
        lock = FileLock(left, timeout=0)
        with suppress(Timeout, OSError, NotImplementedError):  # still being written, or the disk has no locks
            lock.acquire()
            _remove(left.with_suffix(".tmp"), target, lock)


def _short(name: str) -> str:
    """Returns a name that leaves room for an ending in the 255 bytes that file systems take."""
    taken = os.fsencode(name)
    return name if len(taken) <= 200 else hashlib.sha256(taken).hexdigest()


def _lock(target: Path) -> FileLock:
    while True:
        lock = FileLock(target.with_name(f".{_short(target.name)}.{secrets.token_hex(4)}.lock"), timeout=0)
        with suppress(Timeout):  # another writer takes it, not locked yet, for one that was left
            with suppress(NotImplementedError):  # this disk has no locks
                lock.acquire()
            return lock


def _remove(folder: Path, target: Path, lock: FileLock) -> None:
    """Removes a scratch folder and its lock; a target that it was about to replace, and did not, returns first.

    Where ``new`` is gone it did replace it, and whoever removed the target since meant it.
    """
    if (folder / "new").exists() and not target.exists():
        with suppress(OSError):
            os.replace(folder / "old", target)
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    with suppress(OSError):
        os.unlink(lock.lock_file)


def _to_disk(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    windows = not hasattr(os, "O_DIRECTORY")  # it opens no folders, and writes out what is open for writing alone
    if path.is_symlink() or (windows and path.is_dir()):
        return
    file = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        os.close(file)


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file; it is computed only where it is not known yet."""
    known = known_sha256(path)
    if known is not None:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    remember_sha256(path, digest)
    return digest


def known_sha256(path: Path) -> str | None:
    """Returns the sha256 of a file without reading it, or None.

    A link into the hub's cache has it in the name of its blob; else an earlier run may have remembered it by path,
    size, modification time and inode.
    """
    target = path.resolve()
    if path.is_symlink() and target.parent.name == "blobs" and _BLOB.match(target.name):
        return target.name
    memory = _memory(target)
    known = _REMEMBERED.get(memory, "")
    with suppress(OSError, ValueError):  # absent, unreadable or damaged: it is computed again
        known = memory.read_text()
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
    key = os.fsencode(f"{target}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}")
    return home() / "sha256" / hashlib.sha256(key).hexdigest()


def combined(parts: list[tuple[str, str]]) -> str:
    """Returns one sha256 for several named ones."""
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()
