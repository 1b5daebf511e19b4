"""Θ_T + Σ factor·(Θ_D − Θ_0) of one parameter, a piece at a time, in buffers that are used again.

Every element is what ``torch.add(Θ_T.float(), Θ_D.float() - Θ_0.float(), alpha=factor)`` on the whole tensors gives, to
the last bit; what is held in memory does not grow with the model. Files are read with ``pread`` rather than mapped, so
that the process's memory stays small too.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from pyterrier_taskarith.errors import MergeError

#: Elements in a piece: what an addition reads and writes then stays in a core's own cache.
PIECE = 2**18


#: Flags of every open file; Windows would change line ends in it.
FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
#: Held while a file is read or written where the system has no call that names an offset.
_SEEKING = threading.Lock()


class Stored(Protocol):
    """One tensor's elements, row by row."""

    @property
    def dtype(self) -> torch.dtype:
        """Their type."""

    def read(self, start: int, out: torch.Tensor) -> None:
        """Copies elements from ``start`` on into a contiguous CPU tensor of the same dtype, as many as it has."""


@dataclass(frozen=True)
class InFile:
    """A tensor that lies in a file as it is.

    Attributes:
        path: The file's name, for errors.
        file: Its open descriptor.
        offset: Of the first byte.
        dtype: The elements' type.
    """

    path: Path
    file: int
    offset: int
    dtype: torch.dtype

    def read(self, start: int, out: torch.Tensor) -> None:
        """Reads with ``pread``.

        Raises:
            MergeError: If the file ends too early.
        """
        read_bytes(self.file, self.offset + start * self.dtype.itemsize, as_bytes(out), self.path)


@dataclass(frozen=True)
class InMemory:
    """A tensor that PyTorch has loaded or mapped.

    Attributes:
        flat: It, of one dimension.
    """

    flat: torch.Tensor

    @property
    def dtype(self) -> torch.dtype:
        """The elements' type."""
        return self.flat.dtype

    def read(self, start: int, out: torch.Tensor) -> None:
        """Copies."""
        out.copy_(self.flat[start:start + out.numel()])


@dataclass(frozen=True)
class Rows:
    """Rows that are the same token in three matrices.

    Attributes:
        ranker: int64 array of rows of Θ_T, ascending.
        domain: int64 array, same length, of rows of Θ_D.
        base: int64 array, same length, of rows of Θ_0.
    """

    ranker: np.ndarray
    domain: np.ndarray
    base: np.ndarray


@dataclass(frozen=True)
class Addend:
    """factor·(Θ_D − Θ_0).

    Attributes:
        factor: α times the term's scale.
        domain: Θ_D.
        base: Θ_0.
        rows: Which rows it has; None: all, one to one.
    """

    factor: float
    domain: Stored
    base: Stored
    rows: Rows | None = None


@dataclass(frozen=True)
class Sum:
    """One parameter of Θ', not yet computed.

    Attributes:
        ranker: Θ_T.
        addends: What is added to it, in order; nothing: Θ_T's own values, not touched by arithmetic.
        count: Its elements.
        width: Elements of a row.
        dtype: What the float32 result is rounded to.
    """

    ranker: Stored
    addends: tuple[Addend, ...]
    count: int
    width: int
    dtype: torch.dtype

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yields (start, elements) of each piece; where rows are matched, whole rows."""
        step = PIECE
        if any(addend.rows is not None for addend in self.addends):
            step = PIECE // self.width * self.width
        for start in range(0, self.count, step):
            yield start, min(step, self.count - start)


class Scratch:
    """The buffers of one thread, for pieces of :data:`PIECE` elements."""

    def __init__(self) -> None:
        self.value, self.first, self.second = (torch.empty(PIECE, dtype=torch.float32) for _ in range(3))
        self._raw, self._other = (torch.empty(PIECE * 8, dtype=torch.uint8) for _ in range(2))

    def raw(self, dtype: torch.dtype, count: int) -> torch.Tensor:
        """Returns ``count`` elements of any type, with whatever values."""
        return self._raw[:count * dtype.itemsize].view(dtype)

    def other(self, dtype: torch.dtype, count: int) -> torch.Tensor:
        """Returns the same, elsewhere in memory."""
        return self._other[:count * dtype.itemsize].view(dtype)


_THREAD = threading.local()


def scratch() -> Scratch:
    """Returns the buffers of the thread that asks; they live as long as it does."""
    if not hasattr(_THREAD, "scratch"):
        _THREAD.scratch = Scratch()
    found: Scratch = _THREAD.scratch
    return found


def compute(wanted: Sum, start: int, count: int, scratch: Scratch) -> torch.Tensor:
    """Computes a piece of a parameter of Θ'.

    Args:
        wanted: The parameter.
        start: Its first element.
        count: How many.
        scratch: The thread's buffers.

    Returns:
        The elements in ``wanted.dtype``; they lie in ``scratch``, and its next use overwrites them.
    """
    if not wanted.addends:
        held = scratch.raw(wanted.ranker.dtype, count)
        wanted.ranker.read(start, held)
        return held if held.dtype == wanted.dtype else scratch.other(wanted.dtype, count).copy_(held)
    value = scratch.value[:count]
    _load(wanted.ranker, start, value, scratch)
    for addend in wanted.addends:
        if addend.rows is None:
            domain, base = scratch.first[:count], scratch.second[:count]
            _load(addend.domain, start, domain, scratch)
            _load(addend.base, start, base, scratch)
            torch.add(value, torch.sub(domain, base, out=domain), alpha=addend.factor, out=value)
        else:
            _add_rows(addend, addend.rows, value.view(-1, wanted.width), start // wanted.width, scratch)
    return value if wanted.dtype == torch.float32 else scratch.raw(wanted.dtype, count).copy_(value)


def fill(wanted: Sum, out: torch.Tensor, scratch: Scratch) -> bool:
    """Computes a parameter into a tensor, a piece at a time; no other memory is used than the buffers.

    Args:
        wanted: The parameter; the float32 result is rounded once, to the tensor's own dtype.
        out: Contiguous, of any dtype, on any device.
        scratch: The thread's buffers.

    Returns:
        Whether every computed value is finite.
    """
    flat, finite = out.view(-1), True
    for start, count in wanted.pieces():
        made = compute(wanted, start, count, scratch)
        finite = finite and all_finite(made)
        flat[start:start + count].copy_(made)
    return finite


def _load(stored: Stored, start: int, out: torch.Tensor, scratch: Scratch) -> None:
    """Reads elements as float32."""
    if stored.dtype == torch.float32:
        stored.read(start, out)
    else:
        held = scratch.raw(stored.dtype, out.numel())
        stored.read(start, held)
        out.copy_(held)


def _add_rows(addend: Addend, rows: Rows, value: torch.Tensor, first: int, scratch: Scratch) -> None:
    """Adds to the rows of a piece that have a partner; ``first`` is the piece's first row in Θ_T."""
    low, high = np.searchsorted(rows.ranker, [first, first + len(value)])
    if low == high:
        return
    width = value.shape[1]
    domain, base = scratch.first[:(high - low) * width], scratch.second[:(high - low) * width]
    _load_rows(addend.domain, rows.domain[low:high], width, domain, scratch)
    _load_rows(addend.base, rows.base[low:high], width, base, scratch)
    tau = torch.sub(domain, base, out=domain).view(-1, width)
    if high - low == len(value):
        torch.add(value, tau, alpha=addend.factor, out=value)
    else:
        ours = torch.from_numpy(rows.ranker[low:high] - first)
        value[ours] = torch.add(value[ours], tau, alpha=addend.factor)


def _load_rows(stored: Stored, rows: np.ndarray, width: int, out: torch.Tensor, scratch: Scratch) -> None:
    """Reads rows as float32, each run of neighbours at once."""
    held = out if stored.dtype == torch.float32 else scratch.raw(stored.dtype, out.numel())
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for begin, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(rows)], strict=True):
        stored.read(int(rows[begin]) * width, held[begin * width:end * width])
    if held is not out:
        out.copy_(held)


def all_finite(values: torch.Tensor) -> bool:
    """Returns whether no value is NaN or infinite."""
    if not values.is_floating_point():
        return True
    # One pass over values that are in the cache; only where their sum overflows is each of them looked at.
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def as_bytes(tensor: torch.Tensor) -> memoryview:
    """Returns the memory of a contiguous CPU tensor."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def read_bytes(file: int, offset: int, out: memoryview, path: Path) -> None:
    """Fills ``out`` from a file.

    Raises:
        MergeError: If the file ends too early.
    """
    while len(out):
        got = read_at(file, offset, out)
        if not got:
            raise MergeError(f"{path} ends at byte {offset}: it was cut while it was read. Fetch it again")
        out, offset = out[got:], offset + got


def read_at(file: int, offset: int, out: memoryview) -> int:
    """Reads bytes at an offset; returns how many were there, some of those asked for at least."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [out], offset)
    with _SEEKING:
        os.lseek(file, offset, os.SEEK_SET)
        found = os.read(file, len(out))
    out[:len(found)] = found
    return len(found)


def write_at(file: int, offset: int, data: bytes | memoryview) -> int:
    """Writes bytes at an offset; returns how many were written, one at least."""
    if hasattr(os, "pwrite"):
        return os.pwrite(file, data, offset)
    with _SEEKING:
        os.lseek(file, offset, os.SEEK_SET)
        return os.write(file, data)
