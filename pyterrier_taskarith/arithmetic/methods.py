"""Merge methods beside plain task arithmetic, each with its paper; users reach them through TaskVector.

:class:`Trim`, :class:`Breadcrumbs` and :class:`Dare` edit τ of each parameter by itself; :class:`TiesDifference` makes
one τ from several.
"""

import hashlib
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith._files import combined
from pyterrier_taskarith.arithmetic._alphas import Layers
from pyterrier_taskarith.arithmetic._difference import Difference
from pyterrier_taskarith.arithmetic._term import TermSum
from pyterrier_taskarith.errors import MergeError


@dataclass(frozen=True)
class Trim:
    """Keeps the largest values of τ by magnitude in each parameter, and sets the others to 0: TIES' first step.

    Yadav et al., NeurIPS 2023, https://arxiv.org/abs/2306.01708.

    The paper ranks all values of the model together; ranked within each parameter, as here and in mergekit, no
    parameter is emptied because its values are small beside another's. At least one value is kept.

    Attributes:
        density: Share of the values that is kept, above 0 and at most 1.
    """

    density: float

    def __post_init__(self) -> None:
        check_share("density", self.density, above=0.0, most=1.0)

    def apply(self, tau: torch.Tensor, name: str) -> torch.Tensor:
        """Returns the trimmed τ of one parameter."""
        return keep_ranked(tau, 0, max(1, int(self.density * tau.numel())))

    def __str__(self) -> str:
        return f"trim({self.density!r})"


def keep_ranked(tau: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Sets to 0, in place, all values but those at ranks ``first`` … ``last`` − 1 by magnitude, largest first.

    Args:
        tau: float32, contiguous. Of equal magnitudes, the one that comes first in the tensor ranks first.
        first: Rank of the largest value that is kept.
        last: Rank after the smallest one.
    """
    sizes = tau.reshape(-1).abs()
    dropped = ~_largest(sizes, last)
    if first:
        dropped |= _largest(sizes, first)
    return tau.masked_fill_(dropped.reshape(tau.shape), 0.0)


def _largest(sizes: torch.Tensor, count: int) -> torch.Tensor:
    """Returns the mask of exactly ``count`` of the largest sizes; selection, which is cheaper than sorting."""
    if not 0 < count < sizes.numel():
        return torch.full(sizes.shape, count > 0, dtype=torch.bool)
    least = sizes.kthvalue(sizes.numel() - count + 1).values
    mask = sizes > least
    mask[(sizes == least).nonzero()[:count - int(mask.sum()), 0]] = True
    return mask


@dataclass(frozen=True)
class Breadcrumbs:
    """Sets the largest and the smallest values of τ by magnitude to 0 in each parameter; nothing is rescaled.

    Model Breadcrumbs: Davari and Belilovsky, ECCV 2024, https://arxiv.org/abs/2312.06795.

    Attributes:
        density: Share of the values that is kept.
        outliers: Share of the values, the largest, that is dropped (1 − γ of the paper).
    """

    density: float
    outliers: float

    def __post_init__(self) -> None:
        check_share("density", self.density, above=0.0, most=1.0)
        check_share("outliers", self.outliers, least=0.0, below=1.0)
        if self.density + self.outliers > 1:
            raise MergeError(f"density={self.density:g} and outliers={self.outliers:g} are more than 1 together")

    def apply(self, tau: torch.Tensor, name: str) -> torch.Tensor:
        """Returns the masked τ of one parameter."""
        first = int(self.outliers * tau.numel())
        return keep_ranked(tau, first, first + int(self.density * tau.numel()))

    def __str__(self) -> str:
        return f"breadcrumbs({self.density!r}, outliers={self.outliers!r})"


@dataclass(frozen=True)
class Dare:
    """Sets values of τ to 0 at random and divides the others by the share that is kept: the mean stays.

    DARE, drop and rescale: Yu et al., ICML 2024, https://arxiv.org/abs/2311.03099.

    Attributes:
        density: Share of the values that is kept, above 0 and at most 1 (1 − p of the paper).
        seed: Of the random choice. Each parameter draws its own, whatever the order in which they are computed.
    """

    density: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_share("density", self.density, above=0.0, most=1.0)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise MergeError(f"seed={self.seed!r}: must be a whole number")

    def apply(self, tau: torch.Tensor, name: str) -> torch.Tensor:
        """Returns the thinned τ of one parameter."""
        if self.density == 1:
            return tau
        own = int.from_bytes(hashlib.sha256(f"{self.seed}|{name}".encode()).digest()[:8]) >> 1
        kept = torch.rand(tau.shape, generator=torch.Generator().manual_seed(own)) < self.density
        return tau.div_(self.density).masked_fill_(~kept, 0.0)

    def __str__(self) -> str:
        return f"dare({self.density!r}, seed={self.seed})"


def check_share(name: str, value: object, *, above: float | None = None, below: float | None = None,
                least: float | None = None, most: float | None = None) -> None:
    """Refuses a share of weights that is out of range.

    Raises:
        MergeError: Naming the argument and its range.
    """
    number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and (above is None or number > above) and (below is None or number < below)
            and (least is None or number >= least) and (most is None or number <= most)):
        low = f"above {above:g}" if above is not None else f"at least {least or 0:g}"
        high = f"below {below:g}" if below is not None else f"at most {most if most is not None else 1:g}"
        raise MergeError(f"{name}={value!r}: must be a number {low} and {high}")


class TiesDifference(Difference):
    """One τ from several: in each weight, the mean of the vectors whose sign has the larger total.

    Trim, elect sign, merge: Yadav et al., NeurIPS 2023, https://arxiv.org/abs/2306.01708. Its α is the paper's λ. Where
    both signs have the same total, the positive one is taken.
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
        """Closes all files."""
        for difference in self.parts():
            difference.close()
