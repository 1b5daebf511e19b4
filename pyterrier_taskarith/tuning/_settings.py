"""A grid of α: of one vector, or of several, each with values of its own."""

import itertools
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyterrier_taskarith.errors import TaskArithError, WrongTypeError
from pyterrier_taskarith.reranker import TaskArithReranker

#: Values of α as a user gives them: a list, or one for each vector by name.
Alphas = Sequence[float] | Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class AlphaGrid:
    """Settings of α, in order.

    Attributes:
        names: The vectors that have values of their own; empty where one α holds for all.
        settings: One value of α, or one for each name, a setting.
    """

    names: tuple[str, ...]
    settings: tuple[tuple[float, ...], ...]

    @property
    def columns(self) -> list[str]:
        """Columns of a frame of settings: ``alpha``, or ``alpha.name`` for each vector."""
        return [f"alpha.{name}" for name in self.names] or ["alpha"]

    def alpha(self, setting: tuple[float, ...]) -> float | dict[str, float]:
        """Returns a setting as a re-ranker takes it."""
        return dict(zip(self.names, setting, strict=True)) if self.names else setting[0]


def alpha_grid(reranker: TaskArithReranker, alphas: Alphas) -> AlphaGrid:
    """Reads a grid of α.

    Args:
        reranker: Whose vectors the names are of.
        alphas: Values of α for all vectors together, or values for each vector by name, of which every combination is
            a setting.

    Raises:
        TypeError: If they are not numbers.
        ValueError: If values are missing, repeated or not finite, or the names are not those of the vectors.
    """
    if not isinstance(alphas, Mapping):
        return AlphaGrid((), tuple((value,) for value in numbers_of(alphas, "alphas")))
    vectors = reranker.vector_names
    unknown, absent = [name for name in alphas if name not in vectors], [name for name in vectors if name not in alphas]
    if unknown or absent:
        raise TaskArithError(f"alphas must name each of the re-ranker's vectors {vectors}: unknown {unknown}, absent "
                             f"{absent}")
    values = [numbers_of(alphas[name], f"alphas[{name!r}]") for name in vectors]
    return AlphaGrid(tuple(vectors), tuple(itertools.product(*values)))


def numbers_of(values: Iterable[Any], name: str) -> list[float]:
    """Returns values as floats.

    Raises:
        TypeError: If they are not a list of numbers.
        ValueError: If there is none, or one is repeated or not finite.
    """
    if isinstance(values, str | numbers.Real) or any(not isinstance(value, numbers.Real) for value in values):
        by_layers = not isinstance(values, str | numbers.Real) and any(isinstance(value, Mapping) for value in values)
        hint = "; one α for all layers is swept, and tune_layers chooses α by layers" if by_layers else ""
        raise WrongTypeError(f"{name}={values!r}: give a list of numbers{hint}")
    found = [float(value) for value in values]
    if not found:
        raise TaskArithError(f"{name} is empty: give at least one value")
    if len(set(found)) < len(found) or not np.isfinite(found).all():
        raise TaskArithError(f"{name}={found}: values must be finite and distinct")
    return found
