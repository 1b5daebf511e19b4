"""The package's own folder, and files and folders that appear all at once: written under another name, then renamed."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

#: In a scratch folder, the lock that says its writer lives.
_LOCK = ".lock"


def home() -> Path:
    """Returns the package's cache folder: ``$TASKARITH_HOME``, else ``taskarith`` in the user's cache folder.

    It holds what can be made again: hashes of files, indexes, unpacked collections.
    """
    if "TASKARITH_HOME" in os.environ:
        return Path(os.environ["TASKARITH_HOME"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "taskarith"


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Gives a temporary path; where the block ends well, the file written there replaces the target.

    Args:
        target: The file to make or replace. Its folder is made where there is none.

    Yields:
        The path to write to.

    Raises:
        OSError: If the disk is read-only or full; the target is then as it was, and nothing else is left behind.
    """
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
    with _scratch(target) as folder:
        filled, replaced = folder / "new", folder / "old"
        filled.mkdir()
        yield filled
        for path in [*filled.rglob("*"), filled]:
            _to_disk(path)
        if replaces and target.exists():
            os.replace(target, replaced)
        try:
            os.replace(filled, target)
        except OSError as error:
            if replaced.exists():
                os.replace(replaced, target)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(f"{target} was made by something else meanwhile; it is left as it is") from error
            raise
        _to_disk(target.parent)


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Gives a locked folder beside the target, removed at the end; those that killed writers left are removed first.

    The kernel drops a lock when its process dies, however it dies, so that what was left can be told from what is
    being written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{_escaped(target.name)}.*.tmp"):
        _remove_left(left)
    folder, lock = _locked(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _locked(target: Path) -> tuple[Path, FileLock]:
    while True:
        folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        folder.mkdir()
        lock = FileLock(folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):
            continue  # another writer took the folder, not yet locked, for one that was left
        except NotImplementedError:
            return folder, lock  # this disk has no locks
        if (folder / _LOCK).exists():
            return folder, lock
        lock.release()


def _remove_left(folder: Path) -> None:
    """Removes a scratch folder whose writer is dead; one that lives, or that cannot be told, stays."""
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()


def _escaped(name: str) -> str:
    """Returns a name that ``glob`` matches as it is."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _to_disk(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a disk that cannot do that for folders
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        os.close(file)
