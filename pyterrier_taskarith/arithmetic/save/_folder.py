"""A folder that appears all at once: filled under another name, then renamed."""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyterrier_taskarith.errors import MergeError


class TargetTakenError(MergeError):
    """Something came to be at the target while a folder was filled to take its place."""


@contextmanager
def new_folder(target: Path, *, replaces: bool) -> Iterator[Path]:
    """Gives a temporary folder beside the target; where the block ends well, it becomes the target.

    What runs that were killed left beside the same target is removed first. A run that lives holds a lock on its
    folder, which the kernel drops when the run dies, however it dies.

    Args:
        target: It does not exist, is empty, or is to be replaced.
        replaces: Whether a folder with files in it is replaced.

    Yields:
        The folder to fill.

    Raises:
        TargetTakenError: If something else has come to be at the target meanwhile.
        OSError: If the disk is read-only or full; nothing is left behind then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(target)
    temporary, lock = _locked(target)
    try:
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            if path.is_dir() or path.suffix != ".safetensors":  # weights are on the disk already
                _to_disk(path)
        _rename(temporary, target, replaces)
        _to_disk(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def _locked(target: Path) -> tuple[Path, int]:
    """Makes a temporary folder and locks it."""
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        path.mkdir()
        file = os.open(path, os.O_RDONLY)
        # Another run may take a folder that is not locked yet for one that was left.
        if _lock(file) is not False and path.exists():
            return path, file
        os.close(file)


def _lock(file: int) -> bool | None:
    """Locks an open folder; False where another run holds it, None where this disk has no such locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _remove_left(target: Path) -> None:
    """Removes the temporary folders of runs that died; those of runs that live, or that cannot be told, stay."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]+(\.old)?\.tmp")
    for path in [path for path in target.parent.iterdir() if ours.fullmatch(path.name)]:
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # it was renamed or removed just now, or is another user's
        try:
            if _lock(file) and path.is_dir() and os.path.samestat(path.stat(), os.fstat(file)):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(file)


def _rename(temporary: Path, target: Path, replaces: bool) -> None:
    """Renames over an empty folder or nothing; a folder that is replaced is put aside first, and removed after."""
    aside = temporary.with_name(f"{temporary.name.removesuffix('.tmp')}.old.tmp")
    if replaces and target.exists():
        target.rename(aside)
    try:
        temporary.rename(target)
    except OSError as error:
        if aside.exists():
            aside.rename(target)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise TargetTakenError(f"{target} was made by something else while the merge ran; it is left as it is. "
                                   "Choose another folder") from error
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _to_disk(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a disk that cannot do that for folders
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        os.close(file)
