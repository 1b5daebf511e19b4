"""The sha256 of every file that a merge reads, computed beside the merge and not before it."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from pyterrier_taskarith._files import known_sha256, remember_sha256
from pyterrier_taskarith.arithmetic._pieces import PIECE, scratch
from pyterrier_taskarith.arithmetic._tensors import FLAGS, as_bytes, read_bytes
from pyterrier_taskarith.errors import MergeError

#: Bytes of a file that one job hashes.
SEGMENT = 2**25


class Hashes:
    """The sha256 of files; of those that are known already, nothing is read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Looks up what is known: from the hub cache's names, or from an earlier run.

        Args:
            paths: The files.

        Raises:
            OSError: If one is absent.
        """
        self._known: dict[Path, str] = {}
        self._unknown: list[_Running] = []
        self._seen = {path: _seen(path) for path in dict.fromkeys(paths)}
        for path in self._seen:
            known = known_sha256(path)
            if known is None:
                self._unknown.append(_Running(path, self._seen[path][0]))
            else:
                self._known[path] = known

    def jobs(self) -> Iterator[tuple[float, Callable[[], int]]]:
        """Yields what is left to do, as (how far through its file, job); the files move on side by side."""
        steps = [((start + SEGMENT) / max(running.size, 1), running.advance)
                 for running in self._unknown for start in range(0, max(running.size, 1), SEGMENT)]
        yield from sorted(steps, key=lambda step: step[0])

    def finish(self) -> dict[Path, str]:
        """Returns path -> sha256, once all jobs are done.

        Raises:
            MergeError: If a file was changed since it was first looked at.
        """
        for path, before in self._seen.items():
            if _seen(path) != before:
                raise MergeError(f"{path} was changed while the merge read it; nothing was written. Run it again")
        for running in self._unknown:
            self._known[running.path] = running.hash.hexdigest()
            remember_sha256(running.path, self._known[running.path])
        self._unknown.clear()
        return {path: self._known[path] for path in self._seen}


class _Running:
    """One file, hashed from front to back by whichever thread is free."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size, self.hash = path, size, hashlib.sha256()
        self._at, self._lock = 0, threading.Lock()

    def advance(self) -> int:
        """Hashes the next segment; returns 0, as nothing of the output is made."""
        with self._lock:
            end = min(self.size, self._at + SEGMENT)
            file = os.open(self.path, os.O_RDONLY | FLAGS)
            try:
                while self._at < end:
                    part = as_bytes(scratch().raw(torch.uint8, min(PIECE, end - self._at)))
                    read_bytes(file, self._at, part, self.path)
                    self.hash.update(part)
                    self._at += len(part)
            finally:
                os.close(file)
        return 0


def _seen(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
