"""τ of one parameter beside what Θ_T learnt there, in float64, a few rows at a time."""

from dataclasses import dataclass

import numpy as np
import torch

from pyterrier_taskarith.arithmetic import Addend, CheckpointDifference, InMemory, MergePlan, Term, plain_addend
from pyterrier_taskarith.checkpoints import Checkpoint, RowMatch


@dataclass(frozen=True)
class Part:
    """Some rows of a difference, within one piece of Θ_T's parameter.

    Attributes:
        values: float64, rows × width.
        rows: int64, ascending: which rows of the piece they are; None: all.
    """

    values: torch.Tensor
    rows: np.ndarray | None

    def of(self, piece: torch.Tensor) -> torch.Tensor:
        """Returns the same rows of a piece."""
        return piece if self.rows is None else piece[torch.from_numpy(self.rows)]


class VectorReader:
    """One task vector in one parameter of Θ_T, with Θ_T − Θ_0 where all its terms start from one Θ_0."""

    def __init__(self, plan: MergePlan, terms: list[Term], name: str) -> None:
        """Finds the tensors of the vector's terms that cover the parameter; of an edited term, τ is computed."""
        matches = [plan.rows_of(term, name) for term in terms]
        self._addends = [plain_addend(term, name, term.scale, rows, _tensor) or Addend(
            term.scale, InMemory(term.tensor(name).reshape(-1)), None, rows)
            for term, rows in zip(terms, matches, strict=True)]
        self._base: Addend | None = None
        origin = _origin(terms)
        if origin is not None and name in origin.base.shapes:
            inner = origin.rows if name in origin.by_token else None
            self._base = Addend(1.0, _tensor(origin.base, name), None, matches[0],
                                None if inner is None else RowMatch(inner.theirs, inner.theirs))

    @property
    def by_row(self) -> bool:
        """Returns whether rows are matched by token anywhere between Θ_T, Θ_D and Θ_0."""
        return any(addend.by_row for addend in (*self._addends, *filter(None, [self._base])))

    def read(self, theta: torch.Tensor, start: int) -> tuple[Part, Part | None]:
        """Returns τ and Θ_T − Θ_0, where ``theta`` are the rows of Θ_T from ``start`` on."""
        parts = []
        for addend in self._addends:
            rows, tau = _values(addend, theta, start)
            parts.append(Part(tau.double().mul_(addend.factor), rows))
        if self._base is None:
            return _total(parts, theta.shape), None
        rows, base = _values(self._base, theta, start)
        learnt = torch.sub((theta if rows is None else theta[torch.from_numpy(rows)]).float(), base)
        return _total(parts, theta.shape), Part(learnt.double(), rows)


def _tensor(checkpoint: Checkpoint, name: str) -> InMemory:
    return InMemory(checkpoint.tensor(name).reshape(-1))


def _values(addend: Addend, theta: torch.Tensor, start: int) -> tuple[np.ndarray | None, torch.Tensor]:
    width = theta.shape[1]
    rows, values = addend.part(start * width, theta.numel(), width)
    return rows, values.view(-1, width)


def _origin(terms: list[Term]) -> CheckpointDifference | None:
    """Returns the first difference of a vector where all of them depart from one Θ_0, else None."""
    parts = [part for term in terms for part in term.difference.parts()]
    plain = [part for part in parts if isinstance(part, CheckpointDifference)]
    return plain[0] if len(plain) == len(parts) and len({part.base for part in plain}) == 1 else None


def _total(parts: list[Part], shape: torch.Size) -> Part:
    """Returns the sum of parts of one piece; a row that one of them lacks counts as 0 there."""
    if len(parts) == 1:
        return parts[0]
    summed, known = torch.zeros(shape, dtype=torch.float64), np.zeros(shape[0], dtype=bool)
    for part in parts:
        rows = np.arange(shape[0]) if part.rows is None else part.rows
        summed[torch.from_numpy(rows)] += part.values
        known[rows] = True
    rows = np.flatnonzero(known)
    return Part(summed, None) if len(rows) == shape[0] else Part(summed[torch.from_numpy(rows)], rows)
