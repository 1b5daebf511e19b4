"""TIES merging: trim, elect sign, merge (Yadav et al., NeurIPS 2023, arXiv:2306.01708)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith._files import combined
from pyterrier_taskarith.arithmetic._alphas import Layers
from pyterrier_taskarith.arithmetic._difference import Difference
from pyterrier_taskarith.arithmetic._term import TermSum
from pyterrier_taskarith.arithmetic.methods._edits import Trim
from pyterrier_taskarith.errors import MergeError


class TiesDifference:
    """One τ from several: in each weight, the mean of the vectors whose sign has the larger total.

    Its α is the paper's λ. Ties between signs go to the positive one.
    """

    def __init__(self, vectors: Sequence[TermSum], density: float) -> None:
        """States the merge; nothing is read.

        Args:
            vectors: Two or more task vectors over the same tokens.
            density: Share of each vector's values that is kept, the largest, in each parameter (the paper's top k %).

        Raises:
            MergeError: If there are fewer than two vectors, or the density is out of range.
        """
        if len(vectors) < 2:
            raise MergeError("TIES resolves conflicts between vectors: give two or more (of one, use .trim(density))")
        self.vectors, self.trim = tuple(vectors), Trim(density)

    @property
    def label(self) -> str:
        """Returns the vectors and the density."""
        return f"ties({', '.join(map(str, self.vectors))}, density={self.trim.density!r})"

    @property
    def config(self) -> Mapping[str, Any]:
        """Returns the first vector's configuration."""
        return self.vectors[0].terms[0].difference.config

    @property
    def vocabulary(self) -> Mapping[str, int] | None:
        """Returns token -> row, the same for all vectors."""
        return self.vectors[0].terms[0].difference.vocabulary

    @cached_property
    def selections(self) -> tuple[tuple[Layers, ...], ...]:
        """Returns those of every term of every vector."""
        return tuple((*selection, *term.layers) for vector in self.vectors for term in vector.terms
                     for selection in term.difference.selections)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameters that every term which selects them has.

        Raises:
            MergeError: If the vectors differ in tokens, or in the shape of a parameter.
        """
        terms = [term for vector in self.vectors for term in vector.terms]
        for term in terms:
            if term.difference.vocabulary != self.vocabulary:
                raise MergeError(f"{term} and {terms[0]} are over different tokens; TIES needs the same ones")
        shapes: dict[str, tuple[int, ...]] = {}
        for name in dict.fromkeys(name for term in terms for name in term.difference.shapes):
            selecting = [term for term in terms if term.selects(name)]
            if not selecting or not all(term.covers(name) for term in selecting):
                continue
            found = {term.difference.shapes[name] for term in selecting}
            if len(found) > 1:
                raise MergeError(f"{name!r} has different shapes in the vectors of {self.label}: {sorted(found)}")
            shapes[name] = found.pop()
        return shapes

    @property
    def fingerprint(self) -> str:
        """Returns a sha256 of all vectors and the density."""
        return combined([(f"{number} {self.trim}", str(vector.fingerprint)) for number, vector in
                         enumerate(self.vectors)])

    def lacking(self, name: str) -> str:
        """Returns what lacks a parameter."""
        return next((term.difference.lacking(name) for vector in self.vectors for term in vector.terms
                     if term.selects(name) and not term.covers(name)), self.label)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns the merged τ of one parameter, float32."""
        values = [value for value in (self._sum(vector, name) for vector in self.vectors) if value is not None]
        trimmed = [self.trim.apply(value, name) for value in values]
        total = sum(trimmed[1:], trimmed[0].clone())
        positive = total >= 0
        merged, count = torch.zeros_like(total), torch.zeros_like(total)
        for value in trimmed:
            agrees = torch.where(positive, value > 0, value < 0)
            merged += value.masked_fill_(~agrees, 0.0)
            count += agrees
        return merged.div_(count.clamp_(min=1))

    @staticmethod
    def _sum(vector: TermSum, name: str) -> torch.Tensor | None:
        """Returns the vector's own τ, the sum of its scaled terms, or None where it leaves the parameter out."""
        parts = [term.tensor(name).mul_(term.scale) for term in vector.terms if term.covers(name)]
        return sum(parts[1:], parts[0]) if parts else None

    def paths(self) -> list[Path]:
        """Returns every file that the vectors are read from."""
        return [path for difference in self.parts() for path in difference.paths()]

    def parts(self) -> Iterable[Difference]:
        """Yields the differences of all vectors."""
        for vector in self.vectors:
            yield from vector.parts()

    def __reduce__(self) -> tuple[type, tuple[tuple[TermSum, ...], float]]:
        return TiesDifference, (self.vectors, self.trim.density)

    def close(self) -> None:
        """Lets go of all files."""
        for difference in self.parts():
            difference.close()
