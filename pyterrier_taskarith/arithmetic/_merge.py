"""Θ' = Θ_T + Σ α_i τ_i (paper, eq. 2) as something to read or save."""

import math
from collections.abc import Mapping
from functools import cached_property
from itertools import count
from pathlib import Path

import torch

from pyterrier_taskarith.arithmetic._difference import check_finite
from pyterrier_taskarith.arithmetic._errors import MergeError
from pyterrier_taskarith.arithmetic._plan import MergePlan, make_plan
from pyterrier_taskarith.arithmetic._task_vector import TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint, RowMatch


class Merge:
    """A ranker plus task vectors; made by ``Checkpoint(T) + 0.7 * vector``, computed when read or saved."""

    def __init__(self, ranker: Checkpoint, vectors: Mapping[str, TaskVector], alphas: Mapping[str, float]) -> None:
        """States the sum.

        Args:
            ranker: Θ_T.
            vectors: Task vectors by name.
            alphas: One α for each of them.

        Raises:
            MergeError: If a vector has no α, or an α no vector, or is not finite.
        """
        if set(vectors) != set(alphas) or not all(map(math.isfinite, alphas.values())):
            raise MergeError(f"alphas={dict(alphas)}: give one finite number for each vector, {', '.join(vectors)}")
        self.ranker, self.vectors, self.alphas = ranker, dict(vectors), dict(alphas)

    def __add__(self, vector: object) -> "Merge":
        if not isinstance(vector, TaskVector):
            return NotImplemented
        name = next(name for name in (f"vector{number}" for number in count(2)) if name not in self.vectors)
        return Merge(self.ranker, {**self.vectors, name: vector}, {**self.alphas, name: 1.0})

    def __sub__(self, vector: object) -> "Merge":
        if not isinstance(vector, TaskVector):
            return NotImplemented
        return self + -vector

    @cached_property
    def plan(self) -> MergePlan:
        """What happens to every parameter."""
        return make_plan(self.ranker, self.vectors)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one parameter of Θ' in float32; one that nothing is added to, as the files hold it.

        Args:
            name: Its canonical name.

        Raises:
            MergeError: If a value is NaN or infinite.
        """
        value = self.ranker.tensor(name)
        check_finite(value, name, f"Θ_T {self.ranker.source!r}")
        terms = [(term, self.alphas[vector] * term.scale) for vector, term in self.plan.terms(name)]
        terms = [(term, factor) for term, factor in terms if factor != 0]
        if not terms:
            return value
        value = value.to(torch.float32)
        result = torch.empty_like(value)
        for term, factor in terms:
            add_scaled(value, term.difference.tensor(name), factor, self.plan.rows_of(term, name), out=result)
            value = result
        return result

    def save(self, folder: str | Path, *, dtype: str | None = None) -> Path:
        """Writes Θ' as an ordinary model folder; see :func:`save_merge`."""
        from pyterrier_taskarith.arithmetic._save import save_merge

        return save_merge(self, Path(folder), dtype=dtype)

    def __repr__(self) -> str:
        return f"Merge({self})"

    def __str__(self) -> str:
        parts = [str(self.alphas[name] * vector) for name, vector in self.vectors.items()]
        return " + ".join([self.ranker.source, *parts])


def add_scaled(value: torch.Tensor, tau: torch.Tensor, factor: float, rows: RowMatch | None, *,
               out: torch.Tensor) -> None:
    """Writes value + factor·τ into ``out``: ``torch.add`` on whole float32 tensors, the package's specification.

    Args:
        value: float32; may be ``out`` itself.
        tau: float32.
        factor: α times the term's scale.
        rows: Rows to which τ is added; None: all.
        out: float32.
    """
    if rows is None:
        torch.add(value, tau, alpha=factor, out=out)
        return
    if out is not value:
        out.copy_(value)
    ours, theirs = torch.from_numpy(rows.ours).to(out.device), torch.from_numpy(rows.theirs).to(tau.device)
    out[ours] = torch.add(out[ours], tau[theirs], alpha=factor)
