"""Θ_T + Σ factor·(Θ_D − Θ_0) of one parameter, a piece at a time, in buffers that are used again.

Every element is what ``torch.add(Θ_T.float(), Θ_D.float() - Θ_0.float(), alpha=factor)`` on the whole tensors gives, to
the last bit; what is held in memory does not grow with the model.
"""

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pyterrier_taskarith.arithmetic._addition import Step, add
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference
from pyterrier_taskarith.arithmetic._tensors import TensorSource
from pyterrier_taskarith.arithmetic._term import Term
from pyterrier_taskarith.checkpoints import Checkpoint, RowMatch

#: Elements in a piece: what an addition reads and writes then stays in a core's own cache.
PIECE = 2**18


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
    """Returns the buffers of the calling thread; they are freed when it ends."""
    if not hasattr(_THREAD, "scratch"):
        _THREAD.scratch = Scratch()
    found: Scratch = _THREAD.scratch
    return found


@dataclass(frozen=True)
class Addend:
    """factor·(Θ_D − Θ_0).

    Attributes:
        factor: α times the term's scale.
        domain: Θ_D.
        base: Θ_0; None: nothing is subtracted.
        rows: Rows of Θ_T, ascending, and the rows of τ that are the same token; None: all, one to one.
        inner: Rows of Θ_D and of Θ_0 that are τ's rows; None: all, one to one.
    """

    factor: float
    domain: TensorSource
    base: TensorSource | None
    rows: RowMatch | None = None
    inner: RowMatch | None = None

    def __post_init__(self) -> None:
        assert self.rows is None or (np.diff(self.rows.ours) > 0).all(), "rows of Θ_T must be ascending"

    @property
    def by_row(self) -> bool:
        """Returns whether rows are matched anywhere."""
        return self.rows is not None or self.inner is not None

    def part(self, start: int, count: int, width: int) -> tuple[np.ndarray | None, torch.Tensor]:
        """Reads τ where it lies in a piece of Θ_T.

        Args:
            start: The piece's first element.
            count: Its elements; whole rows where rows are matched.
            width: Elements of a row.

        Returns:
            The rows of the piece that have a τ (None: all), and τ in float32. It lies in the thread's buffers, of one
            dimension, or rows × width where rows are matched.
        """
        if not self.by_row:
            return None, self._difference(count, lambda source, _, out: source.read(start, out))
        first, rows = start // width, None
        theirs = np.arange(first, first + count // width)
        if self.rows is not None:
            low, high = np.searchsorted(self.rows.ours, [first, first + count // width])
            if high - low < count // width:
                rows = self.rows.ours[low:high] - first
            theirs = self.rows.theirs[low:high]
        picked = (theirs, theirs) if self.inner is None else (self.inner.ours[theirs], self.inner.theirs[theirs])
        return rows, self._difference(len(theirs) * width, lambda source, which, out: _read_rows(
            source, picked[which], width, out)).view(-1, width)

    def _difference(self, count: int, read: Callable[[TensorSource, int, torch.Tensor], None]) -> torch.Tensor:
        """Returns Θ_D − Θ_0 in float32; ``read`` copies elements of Θ_D (0) or Θ_0 (1)."""
        buffers = scratch()
        tau = _as_float(self.domain, buffers.first[:count], lambda out: read(self.domain, 0, out))
        if self.base is None:
            return tau
        base = self.base
        return torch.sub(tau, _as_float(base, buffers.second[:count], lambda out: read(base, 1, out)), out=tau)


@dataclass(frozen=True)
class OutputTensor:
    """One parameter of Θ', not yet computed.

    Attributes:
        ranker: Θ_T.
        addends: What is added to it, in order; nothing: Θ_T's own values, not touched by arithmetic.
        count: Its elements.
        width: Elements of a row.
        dtype: What the float32 result is rounded to.
    """

    ranker: TensorSource
    addends: tuple[Addend, ...]
    count: int
    width: int
    dtype: torch.dtype

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yields (start, elements) of each piece; where rows are matched, whole rows."""
        step = PIECE
        if any(addend.by_row for addend in self.addends):
            step = PIECE // self.width * self.width
        for start in range(0, self.count, step):
            yield start, min(step, self.count - start)

    def compute(self, start: int, count: int) -> torch.Tensor:
        """Returns elements of Θ' in :attr:`dtype`; they lie in the thread's buffers until it computes others."""
        buffers = scratch()
        if not self.addends:
            held = buffers.raw(self.ranker.dtype, count)
            self.ranker.read(start, held)
            return held if held.dtype == self.dtype else buffers.other(self.dtype, count).copy_(held)
        value = _as_float(self.ranker, buffers.value[:count], lambda out: self.ranker.read(start, out))
        for addend in self.addends:
            rows, tau = addend.part(start, count, self.width)
            ours = value.view(-1, self.width) if addend.by_row else value
            add(ours, tau, addend.factor, out=ours, rows=rows)
        return value if self.dtype == torch.float32 else buffers.raw(self.dtype, count).copy_(value)


def output_tensor(ranker: Checkpoint, name: str, steps: list[Step], dtype: torch.dtype,
                  read: Callable[[Checkpoint, str], TensorSource | None]) -> OutputTensor | None:
    """Returns a parameter of Θ' that can be computed in pieces; None where it cannot.

    Args:
        ranker: Θ_T.
        name: Canonical name.
        steps: What is added.
        dtype: Of the result.
        read: Finds a parameter of a checkpoint; None where no file holds it as it is.
    """
    shape = ranker.shapes[name]
    width = math.prod(shape[1:])
    source = read(ranker, name)
    addends = [plain_addend(step.term, name, step.factor, step.rows, read) for step in steps]
    found = tuple(addend for addend in addends if addend is not None)
    if source is None or len(found) < len(steps) or (
            any(addend.by_row for addend in found) and not 0 < width <= PIECE):
        return None
    return OutputTensor(source, found, math.prod(shape), width, dtype)


def plain_addend(term: Term, name: str, factor: float, rows: RowMatch | None,
                 read: Callable[[Checkpoint, str], TensorSource | None]) -> Addend | None:
    """Returns factor·(Θ_D − Θ_0) of one parameter; None where τ is something else, or not read as it is."""
    difference = term.difference
    if not term.plain or not isinstance(difference, CheckpointDifference):
        return None
    domain, base = read(difference.domain, name), read(difference.base, name)
    if domain is None or base is None:
        return None
    return Addend(factor, domain, base, rows, difference.rows if name in difference.by_token else None)


def _as_float(source: TensorSource, out: torch.Tensor, read: Callable[[torch.Tensor], None]) -> torch.Tensor:
    """Reads elements of a source into ``out`` as float32."""
    if source.dtype == torch.float32:
        read(out)
        return out
    held = scratch().raw(source.dtype, out.numel())
    read(held)
    return out.copy_(held)


def _read_rows(source: TensorSource, rows: np.ndarray, width: int, out: torch.Tensor) -> None:
    """Reads rows, each run of neighbours at once."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for begin, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(rows)], strict=True):
        if end > begin:
            source.read(int(rows[begin]) * width, out[begin * width:end * width])


def all_finite(values: torch.Tensor) -> bool:
    """Returns whether no value is NaN or infinite."""
    if not values.is_floating_point():
        return True
    # One pass over values that are in the processor's cache; each is tested only where their sum is not finite.
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())
