"""value + factor·τ, on the straight line or on the sphere: the only module that adds weights."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from pyterrier_taskarith.arithmetic._term import Term
from pyterrier_taskarith.checkpoints import RowMatch

#: Directions closer than this (in cosine) are interpolated on the straight line, as mergekit does.
STRAIGHT = 0.9995


def add(value: torch.Tensor, tau: torch.Tensor, factor: float, *, out: torch.Tensor,
        rows: np.ndarray | None = None) -> None:
    """Writes value + factor·τ into ``out``: ``torch.add`` in float32, the package's specification.

    Args:
        value: float32; may be ``out`` itself.
        tau: float32, on the device of ``out``: of the same shape, or a row for each of ``rows``.
        factor: α times the term's scale.
        out: float32, the shape of ``value``.
        rows: The rows that have a τ; None: all. The others keep their values.
    """
    if rows is None:
        torch.add(value, tau, alpha=factor, out=out)
        return
    if out is not value:
        out.copy_(value)
    ours = torch.from_numpy(rows).to(out.device)
    out[ours] = torch.add(out[ours], tau, alpha=factor)


def add_on_sphere(value: torch.Tensor, tau: torch.Tensor, factor: float, *, out: torch.Tensor) -> None:
    """Writes the point at ``factor`` of the great circle from ``value`` to ``value + tau`` into ``out``.

    Shoemake, SIGGRAPH 1985; for weights as in mergekit.

    With Ω the angle between the two, a = sin((1 − t)Ω)/sin Ω and b = sin(tΩ)/sin Ω: (a + b)·value + b·tau, over the
    parameter as one vector.

    Args:
        value: float32, Θ_T's parameter.
        tau: float32, same shape: the other end minus ``value``.
        factor: t; 0 is ``value``, 1 the other end.
        out: float32, same shape; not ``value``.
    """
    ours, theirs = value.reshape(-1).double(), tau.reshape(-1).double()
    theirs += ours
    lengths = float(ours.norm() * theirs.norm())
    cosine = float(torch.dot(ours, theirs)) / lengths if lengths else 1.0
    if abs(cosine) > STRAIGHT:
        torch.add(value, tau, alpha=factor, out=out)
        return
    angle = math.acos(cosine)
    first, second = (math.sin(part * angle) / math.sin(angle) for part in (1 - factor, factor))
    torch.mul(value, first + second, out=out)
    out.add_(tau, alpha=second)


@dataclass(frozen=True)
class Step:
    """One addition to a parameter: factor·τ of a term.

    Attributes:
        term: What is added.
        factor: α times the term's scale; never 0.
        rows: Rows of Θ_T that have a row in the term; None: all, one to one.
        position: Its index among the terms that cover the parameter, whatever their α.
    """

    term: Term
    factor: float
    rows: RowMatch | None
    position: int

    def add(self, value: torch.Tensor, tau: torch.Tensor, *, out: torch.Tensor) -> None:
        """Adds the term's τ of a whole parameter to ``value``; see :func:`add`."""
        if self.term.sphere:
            add_on_sphere(value, tau, self.factor, out=out)
        elif self.rows is None:
            add(value, tau, self.factor, out=out)
        else:
            theirs = torch.from_numpy(self.rows.theirs).to(tau.device)
            add(value, tau[theirs], self.factor, out=out, rows=self.rows.ours)
