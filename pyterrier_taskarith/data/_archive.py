"""Zipped collections, unpacked once."""

import errno
import hashlib
import os
import re
import shutil
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pyterrier_taskarith._files import new_folder, remove_left
from pyterrier_taskarith.errors import DataError

#: A collection lies in the folder of the zip that holds one of these.
DOCUMENTS = ("corpus.jsonl", "docs.jsonl")
#: A collection's other files, relative to that; nothing else is unpacked.
_OTHERS = re.compile(r"queries\.jsonl|queries\.tsv|qrels\.txt|qrels/[^/\\]+\.tsv")


def unpacked(path: Path, parent: Path) -> Path:
    """Returns the folder of a zipped collection, which is unpacked into a subfolder of ``parent`` once.

    Only a collection's own files are written, under names made here, so that a name such as ``../x`` in the zip cannot
    lead outside. A zip of the same contents uses the same folder.

    Raises:
        FileNotFoundError: If there is no such file, or the zip holds no documents.
        DataError: If it is not a whole zip (half downloaded, say), encrypted, or holds several collections.
        OSError: If it cannot be written; nothing is left behind then.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            check_unpacked(path, sum(info.file_size for info in members.values()))
            facts = [(name, info.CRC, info.file_size) for name, info in sorted(members.items())]
            folder = parent / f"{path.stem}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"
            remove_left(folder)
            if not folder.is_dir():
                with suppress(FileExistsError), new_folder(folder) as new:  # another process may be faster
                    _extract(archive, members, new, path)
            return folder
    except (zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # of a position before the file's start
            raise
        raise DataError(f"{path} is not a whole zip file ({error}): was it downloaded to its end? Fetch it "
                         "again.") from None


def check_unpacked(path: Path, size: int) -> None:
    """Checks that what a compressed file unpacks to is not out of all proportion.

    Args:
        path: The compressed file.
        size: Bytes that were unpacked, or are about to be.

    Raises:
        DataError: If there are more than ``$TASKARITH_MAX_UNPACKED`` says; where it is not set, more than 1 GiB and
            than 100 times the file. Text is some 3 to 20 times as large as its compressed file.
    """
    stated = os.environ.get("TASKARITH_MAX_UNPACKED")
    try:
        most = int(stated) if stated else max(2**30, 100 * path.stat().st_size)
    except ValueError:
        raise DataError(f"TASKARITH_MAX_UNPACKED={stated!r} is not a number of bytes") from None
    if size > most:
        raise DataError(f"{path} unpacks to more than {most:,} bytes. If that is right, state a higher limit in bytes: "
                        "TASKARITH_MAX_UNPACKED")


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Returns the collection's files by the names they get."""
    infos = {PurePosixPath(info.filename): info for info in archive.infolist()
             if not info.is_dir() and "__MACOSX" not in info.filename}
    found = [name for name in infos if name.name in DOCUMENTS]
    if not found:
        raise FileNotFoundError(f"{path} holds neither {' nor '.join(DOCUMENTS)}: it is not a collection.")
    if len(found) > 1:
        raise DataError(f"{path} holds {len(found)} collections ({', '.join(map(str, found))}): unpack it and name "
                         "one of its folders.")
    root = found[0].parent
    members = {found[0].name: infos[found[0]]}
    for name, info in infos.items():
        if name.is_relative_to(root) and _OTHERS.fullmatch(inside := str(name.relative_to(root))):
            members[inside] = info
    return members


def _extract(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: Path, path: Path) -> None:
    for name, info in members.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with archive.open(info) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 2**20)  # zipfile compares the checksum at the end
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise DataError(f"{path}: its file {info.filename} cannot be unpacked ({error or 'it ends early'}); "
                            "is the zip damaged, half downloaded or encrypted?") from None
