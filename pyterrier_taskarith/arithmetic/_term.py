"""A task vector's terms: differences of weights, each scaled, restricted to layers and edited; and their sum."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch

from pyterrier_taskarith.arithmetic._alphas import Layers
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference, Difference


class Edit(Protocol):
    """A change that a merge method makes to τ, parameter by parameter. It is hashable, and its text is complete."""

    def apply(self, tau: torch.Tensor, name: str) -> torch.Tensor:
        """Returns the edited τ of one parameter: float32, same shape; ``tau`` may be changed in place."""


@dataclass(frozen=True)
class Term:
    """One scaled difference inside a task vector.

    Attributes:
        scale: Its factor.
        difference: The weights.
        layers: Selections that a parameter must lie in, all of them; empty: no restriction.
        edits: Applied to τ of each parameter, in order.
        sphere: Whether α moves along the great circle from Θ_T to Θ_T + τ instead of the straight line.
    """

    scale: float
    difference: Difference
    layers: tuple[Layers, ...] = ()
    edits: tuple[Edit, ...] = ()
    sphere: bool = False

    @property
    def plain(self) -> bool:
        """Whether what is added is factor·(Θ_D − Θ_0) of two checkpoints and nothing else."""
        return isinstance(self.difference, CheckpointDifference) and not self.edits and not self.sphere

    def covers(self, name: str) -> bool:
        """Returns whether the term has and selects a parameter."""
        return name in self.difference.shapes and self.selects(name)

    def selects(self, name: str) -> bool:
        """Returns whether the term's layers include a parameter."""
        return any(all(name in layers for layers in (*selection, *self.layers))
                   for selection in self.difference.selections)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns τ of one parameter after its edits, before its scale: float32, on the CPU, the caller's own."""
        value = self.difference.tensor(name)
        for edit in self.edits:
            value = edit.apply(value, name)
        return value

    def __str__(self) -> str:
        # Every digit: models are told apart by this text, and a recipe must give the same weights again.
        scale = "" if self.scale == 1 else f"{self.scale!r}·".replace(".0·", "·")
        made = "".join([f"[{layers.text}]" for layers in self.layers] + [f".{edit}" for edit in self.edits]
                       + [".slerp()"] * self.sphere)
        return f"{scale}({self.difference.label}){made}"


class TermSum:
    """A sum of terms: all that a plan, a merge method or a merge needs to know of a task vector.

    Attributes:
        terms: The addends, in order.
    """

    terms: tuple[Term, ...]

    @classmethod
    def of(cls, terms: Iterable[Term]) -> Self:
        """Returns the sum of terms."""
        vector = cls.__new__(cls)
        vector.terms = tuple(terms)
        return vector

    def __neg__(self) -> Self:
        return self.of(replace(term, scale=-term.scale) for term in self.terms)

    @property
    def difference(self) -> CheckpointDifference | None:
        """Returns the two checkpoints, where the vector is one plain Θ_D − Θ_0; else None."""
        only = self.terms[0].difference if len(self.terms) == 1 else None
        return only if isinstance(only, CheckpointDifference) else None

    @property
    def fingerprint(self) -> list[tuple[float, str, str]]:
        """Returns what identifies the weights: of each term the scale, the sha256, the layers and edits."""
        return [(term.scale, term.difference.fingerprint, str(replace(term, scale=1.0)).removeprefix(
            f"({term.difference.label})")) for term in self.terms]

    def parts(self) -> list[Difference]:
        """Returns every difference that the vector's weights come from."""
        return [part for term in self.terms for part in term.difference.parts()]

    def close(self) -> None:
        """Closes the files; the next read opens them again."""
        for term in self.terms:
            term.difference.close()

    def __str__(self) -> str:
        return added(map(str, self.terms))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TermSum) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def added(parts: Iterable[str]) -> str:
    """Returns addends in words as a sum: "a + 0.7·b − 0.1·c"."""
    first, *others = parts
    return first + "".join(f" − {part[1:].removeprefix('1·')}" if part.startswith("-") else f" + {part}"
                           for part in others)
