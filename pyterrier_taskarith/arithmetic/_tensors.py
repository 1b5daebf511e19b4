"""Tensors that are read a piece at a time: from files, without mapping them, or from memory."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import torch

from pyterrier_taskarith.checkpoints import BinFile, Checkpoint, SafetensorsFile, TensorLocation, WeightFile
from pyterrier_taskarith.errors import MergeError

#: Flags of every open file; Windows would change line ends in it.
FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
#: Files that a merge keeps open, beside those in use.
MOST_OPEN = 32
#: Held while a file is read or written where the system has no call that names an offset.
_SEEKING = threading.Lock()


class TensorSource(Protocol):
    """The elements of one tensor, row by row."""

    @property
    def dtype(self) -> torch.dtype:
        """Returns the elements' type."""

    def read(self, start: int, out: torch.Tensor) -> None:
        """Copies elements from ``start`` on into a contiguous CPU tensor of the same dtype, as many as it has."""


@dataclass(frozen=True)
class InFile:
    """A tensor as a file holds it.

    Attributes:
        path: The file.
        files: Opens it.
        offset: Of the first byte.
        dtype: The elements' type.
    """

    path: Path
    files: "OpenFiles"
    offset: int
    dtype: torch.dtype

    def read(self, start: int, out: torch.Tensor) -> None:
        """Reads from the file.

        Raises:
            MergeError: If the file ends too early.
        """
        with self.files.descriptor(self.path) as file:
            read_bytes(file, self.offset + start * self.dtype.itemsize, as_bytes(out), self.path)


@dataclass(frozen=True)
class InMemory:
    """A tensor that PyTorch has loaded or mapped.

    Attributes:
        flat: The tensor, with one dimension.
    """

    flat: torch.Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Returns the elements' type."""
        return self.flat.dtype

    def read(self, start: int, out: torch.Tensor) -> None:
        """Copies from memory."""
        out.copy_(self.flat[start:start + out.numel()])


class OpenFiles:
    """Descriptors of the files that are read and written: opened when needed, a few at a time, until the context ends.

    A model of many shards would else need more of them than a process may have.
    """

    def __init__(self) -> None:
        self._files: dict[Path, list[int]] = {}  # the descriptor and how many threads use it; the latest last
        self._lock = threading.Lock()

    def __enter__(self) -> "OpenFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for file, _ in self._files.values():
            os.close(file)
        self._files.clear()

    @contextmanager
    def descriptor(self, path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
        """Gives the descriptor of a file, which stays open while it is used.

        Raises:
            OSError: If it cannot be opened.
        """
        with self._lock:
            held = self._files.pop(path, None) or [os.open(path, flags | FLAGS), 0]
            held[1] += 1
            self._files[path] = held
            idle = [other for other, (_, users) in self._files.items() if not users]
            for other in idle[:max(0, len(self._files) - MOST_OPEN)]:
                os.close(self._files.pop(other)[0])
        try:
            yield held[0]
        finally:
            with self._lock:
                held[1] -= 1

    def parameter(self, checkpoint: Checkpoint, name: str) -> TensorSource | None:
        """Returns a parameter by its canonical name; None where no file holds it as it is."""
        location = checkpoint.location(name)
        if location is not None:
            return self._in_file(location)
        held = checkpoint.names.parameters[name][0]
        return self.raw(checkpoint.raw[held], held)

    def raw(self, file: WeightFile, name: str) -> TensorSource | None:
        """Returns a tensor by its name in a file; None where the file does not hold it as it is."""
        if isinstance(file, SafetensorsFile):
            return self._in_file(file.location(name))
        return InMemory(file.tensor(name).reshape(-1)) if isinstance(file, BinFile) else None

    def _in_file(self, location: TensorLocation) -> InFile:
        return InFile(location.path, self, location.offset, location.dtype)


def as_bytes(tensor: torch.Tensor) -> memoryview:
    """Returns the memory of a contiguous CPU tensor."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def read_bytes(file: int, offset: int, out: memoryview, path: Path) -> None:
    """Fills ``out`` from a file.

    Raises:
        MergeError: If the file ends too early.
    """
    while len(out):
        if hasattr(os, "preadv"):
            got = os.preadv(file, [out], offset)
        else:
            with _SEEKING:
                os.lseek(file, offset, os.SEEK_SET)
                found = os.read(file, len(out))
            out[:len(found)], got = found, len(found)
        if not got:
            raise MergeError(f"{path} ends at byte {offset}: it was cut while it was read. Fetch it again")
        out, offset = out[got:], offset + got


def write_bytes(file: int, offset: int, data: bytes | memoryview) -> None:
    """Writes all bytes to a file, from an offset on."""
    left = memoryview(data)
    while len(left):
        if hasattr(os, "pwrite"):
            wrote = os.pwrite(file, left, offset)
        else:
            with _SEEKING:
                os.lseek(file, offset, os.SEEK_SET)
                wrote = os.write(file, left)
        left, offset = left[wrote:], offset + wrote
