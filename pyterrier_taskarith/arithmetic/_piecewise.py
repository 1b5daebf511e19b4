"""τ of one parameter beside what Θ_T learnt there, read a few rows at a time."""

from dataclasses import dataclass

import numpy as np
import torch

from pyterrier_taskarith.arithmetic._difference import CheckpointDifference
from pyterrier_taskarith.arithmetic._plan import MergePlan
from pyterrier_taskarith.arithmetic._term import Term


@dataclass(frozen=True)
class Part:
    """Some rows of a difference, within one piece of Θ_T's parameter.

    Attributes:
        values: float64, rows × width.
        rows: int64, ascending: their places in the piece; None: all of it.
    """

    values: torch.Tensor
    rows: np.ndarray | None

    def of(self, piece: torch.Tensor) -> torch.Tensor:
        """Returns the same rows of a piece."""
        return piece if self.rows is None else piece[torch.from_numpy(self.rows)]


@dataclass(frozen=True)
class _Table:
    """A tensor, rows × width, whose row ``picks[i]`` belongs to the i-th row that matches; None: row i."""

    tensor: torch.Tensor
    picks: np.ndarray | None

    def read(self, chosen: slice) -> torch.Tensor:
        """Returns rows in float32."""
        rows = self.tensor[chosen] if self.picks is None else self.tensor[torch.from_numpy(self.picks[chosen])]
        return rows.float()


class PiecewiseTerm:
    """τ of one term and one parameter. A plain Θ_D − Θ_0 is never held whole."""

    def __init__(self, term: Term, name: str, rows: tuple[np.ndarray, np.ndarray] | None, width: int) -> None:
        """Finds the tensors; nothing is computed yet, but τ of an edited term.

        Args:
            term: What is added.
            name: Canonical name of the parameter.
            rows: Matching rows of Θ_T (ascending) and of τ; None: all, one to one.
            width: Numbers in a row.
        """
        self.scale, self.at = term.scale, None if rows is None else rows[0]
        picks = None if rows is None else rows[1]
        if term.plain and isinstance(term.difference, CheckpointDifference):
            self._tables = [_table(term.difference, which, name, picks, width) for which in ("domain", "base")]
        else:
            self._tables = [_Table(term.tensor(name).reshape(-1, width), picks)]

    def part(self, start: int, count: int) -> Part:
        """Returns scale·τ in the rows of Θ_T from ``start`` on; the difference itself is taken in float32."""
        chosen, rows = chosen_rows(self.at, start, count)
        value, *minus = (table.read(chosen) for table in self._tables)
        for other in minus:
            value = torch.sub(value, other)
        return Part(value.double().mul_(self.scale), rows)


class PiecewiseOrigin:
    """Θ_T − Θ_0 of one parameter, in the rows that have a row in τ."""

    def __init__(self, difference: CheckpointDifference, name: str, rows: tuple[np.ndarray, np.ndarray] | None,
                 width: int) -> None:
        """Finds Θ_0's tensor; arguments as for :class:`PiecewiseTerm`."""
        self.at = None if rows is None else rows[0]
        self._table = _table(difference, "base", name, None if rows is None else rows[1], width)

    def part(self, theta: torch.Tensor, start: int) -> Part:
        """Returns Θ_T − Θ_0, where ``theta`` are the rows of Θ_T from ``start`` on."""
        chosen, rows = chosen_rows(self.at, start, len(theta))
        ours = theta if rows is None else theta[torch.from_numpy(rows)]
        return Part(torch.sub(ours.float(), self._table.read(chosen)).double(), rows)


class PiecewiseVector:
    """One task vector in one parameter of Θ_T."""

    def __init__(self, plan: MergePlan, terms: list[Term], name: str, width: int) -> None:
        """Takes the vector's terms that cover the parameter."""
        matches = [plan.rows_of(term, name) for term in terms]
        rows = [None if match is None else (match.ours, match.theirs) for match in matches]
        self._terms = [PiecewiseTerm(term, name, own, width) for term, own in zip(terms, rows, strict=True)]
        origin = origin_of(terms)
        self._origin = None
        if origin is not None and name in origin.base.shapes:
            self._origin = PiecewiseOrigin(origin, name, rows[0], width)

    def read(self, theta: torch.Tensor, start: int) -> tuple[Part, Part | None]:
        """Returns τ and Θ_T − Θ_0, where ``theta`` are the rows of Θ_T from ``start`` on."""
        parts = [term.part(start, len(theta)) for term in self._terms]
        return total(parts, theta.shape), None if self._origin is None else self._origin.part(theta, start)


def origin_of(terms: list[Term]) -> CheckpointDifference | None:
    """Returns the first difference of a vector where all of them depart from one Θ_0, else None."""
    parts = [part for term in terms for part in term.difference.parts()]
    plain = [part for part in parts if isinstance(part, CheckpointDifference)]
    return plain[0] if len(plain) == len(parts) and len({part.base for part in plain}) == 1 else None


def row_by_row(plan: MergePlan, terms: list[Term], name: str) -> bool:
    """Returns whether rows of a parameter are matched by token anywhere between Θ_T, Θ_D and Θ_0."""
    return any(plan.rows_of(term, name) is not None for term in terms) or any(
        part.rows is not None and name in part.by_token
        for term in terms for part in term.difference.parts() if isinstance(part, CheckpointDifference))


def total(parts: list[Part], shape: torch.Size) -> Part:
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


def chosen_rows(at: np.ndarray | None, start: int, count: int) -> tuple[slice, np.ndarray | None]:
    """Returns which of the matching rows lie in a piece, and their places in it."""
    if at is None:
        return slice(start, start + count), None
    first, last = np.searchsorted(at, [start, start + count])
    return slice(first, last), at[first:last] - start


def _table(difference: CheckpointDifference, which: str, name: str, picks: np.ndarray | None, width: int) -> _Table:
    """Returns Θ_D's ("domain") or Θ_0's ("base") tensor, with ``picks`` (rows of τ) turned into rows of its own."""
    checkpoint = difference.domain if which == "domain" else difference.base
    if difference.rows is not None and name in difference.by_token:
        own = difference.rows.ours if which == "domain" else difference.rows.theirs
        picks = own if picks is None else own[picks]
    return _Table(checkpoint.tensor(name).reshape(-1, width), picks)
