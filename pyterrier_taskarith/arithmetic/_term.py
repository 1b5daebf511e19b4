"""One scaled, restricted and edited difference inside a task vector."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from pyterrier_taskarith.arithmetic._difference import CheckpointDifference, Difference
from pyterrier_taskarith.arithmetic._layers import Layers


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


def added(parts: Iterable[str]) -> str:
    """Returns addends in words as a sum: "a + 0.7·b − 0.1·c"."""
    first, *others = parts
    return first + "".join(f" − {part[1:].removeprefix('1·')}" if part.startswith("-") else f" + {part}"
                           for part in others)
