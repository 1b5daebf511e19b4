"""Task vectors and their algebra."""

import errno
import json
import math
import numbers
from dataclasses import replace
from pathlib import Path
from typing import overload

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from pyterrier_taskarith._files import new_file
from pyterrier_taskarith.arithmetic._alphas import Layers
from pyterrier_taskarith.arithmetic._difference import FORMAT, CheckpointDifference, SavedDifference
from pyterrier_taskarith.arithmetic._term import Edit, Term, TermSum
from pyterrier_taskarith.arithmetic.methods import Breadcrumbs, Dare, TiesDifference, Trim
from pyterrier_taskarith.arithmetic.save import Merge
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import MergeError, first_line
from pyterrier_taskarith.families import is_head


class TaskVector(TermSum):
    """τ = Θ_D − Θ_0 (paper, eq. 1), and sums of such vectors. Weights are read only when they are used.

    Example:
        >>> bio = TaskVector("razent/SciFive-base-Pubmed_PMC", "google-t5/t5-base")  # doctest: +SKIP
        >>> Checkpoint("castorini/monot5-base-msmarco") + 0.7 * bio                  # doctest: +SKIP
    """

    # NumPy scalars would otherwise try to multiply elementwise before __rmul__ is asked.
    __array_ufunc__ = None

    def __init__(self, domain: str | Path | Checkpoint, base: str | Path | Checkpoint) -> None:
        """Takes the difference of two checkpoints.

        Args:
            domain: Θ_D, the adapted model.
            base: Θ_0, the model it was adapted from.
        """
        self.terms: tuple[Term, ...] = (Term(1.0, CheckpointDifference(Checkpoint(domain), Checkpoint(base))),)

    @classmethod
    def load(cls, path: str | Path) -> "TaskVector":
        """Returns a vector that :meth:`save` wrote.

        Raises:
            CheckpointError: If the file is not a safetensors file.
            MergeError: If it holds no task vector.
        """
        saved = SavedDifference(Path(path))
        saved.recipe  # noqa: B018 - reading it checks the header
        return cls.of([Term(1.0, saved)])

    def __mul__(self, factor: object) -> "TaskVector":
        if not isinstance(factor, numbers.Real):
            return NotImplemented
        return self._scaled([term.scale * float(factor) for term in self.terms], f"multiplied by {factor}")

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> "TaskVector":
        if not isinstance(divisor, numbers.Real):
            return NotImplemented
        if divisor == 0 or math.isinf(divisor):
            raise MergeError(f"a task vector cannot be divided by {divisor}")
        return self._scaled([term.scale / float(divisor) for term in self.terms], f"divided by {divisor}")

    def _scaled(self, scales: list[float], done: str) -> "TaskVector":
        if not all(map(math.isfinite, scales)):
            raise MergeError(f"a task vector cannot be {done}: its scale must stay a finite number")
        return self.of(replace(term, scale=scale) for term, scale in zip(self.terms, scales, strict=True))

    def __add__(self, other: object) -> "TaskVector":
        if not isinstance(other, TaskVector):
            return NotImplemented
        return self.of(self.terms + other.terms)

    def __sub__(self, other: object) -> "TaskVector":
        if not isinstance(other, TaskVector):
            return NotImplemented
        return self + -other

    @overload
    def __radd__(self, other: Checkpoint) -> Merge: ...

    @overload
    def __radd__(self, other: int) -> "TaskVector": ...

    def __radd__(self, other: object) -> "Merge | TaskVector":
        if type(other) is int and other == 0:  # what sum() begins with
            return self
        if not isinstance(other, Checkpoint):
            return NotImplemented
        return Merge(other, {"vector": self}, {"vector": 1.0})

    def __rsub__(self, other: object) -> Merge:
        if not isinstance(other, Checkpoint):
            return NotImplemented
        return Merge(other, {"vector": -self}, {"vector": 1.0})

    def layers(self, which: str) -> "TaskVector":
        """Returns the vector restricted to some layers.

        Args:
            which: Such as ``"0-5"``, ``"decoder.3"``, ``"embeddings,0"``; see :class:`Layers`.

        Raises:
            MergeError: If that is not a selection of layers.
        """
        return self.of(replace(term, layers=(*term.layers, Layers(which))) for term in self.terms)

    def without(self, which: str) -> "TaskVector":
        """Returns the vector without some layers: everything that :meth:`layers` would leave out."""
        return self.layers(f"not {which}")

    def trim(self, density: float) -> "TaskVector":
        """Returns the vector with its largest values alone, in each parameter: TIES' first step; see :class:`Trim`.

        Args:
            density: Share of the values that is kept.
        """
        return self._edited(Trim(density))

    def dare(self, density: float, *, seed: int = 0) -> "TaskVector":
        """Returns the vector with a random part of its values, rescaled; see :class:`Dare`.

        Args:
            density: Share of the values that is kept.
            seed: Of the choice.
        """
        return self._edited(Dare(density, seed))

    def breadcrumbs(self, density: float, *, outliers: float) -> "TaskVector":
        """Returns the vector without its largest and its smallest values; see :class:`Breadcrumbs`.

        Args:
            density: Share of the values that is kept.
            outliers: Share of the values, the largest, that is dropped.
        """
        return self._edited(Breadcrumbs(density, outliers))

    @classmethod
    def ties(cls, *vectors: "TaskVector", density: float) -> "TaskVector":
        """Returns one vector from several by TIES: trim, elect sign, merge; its α is the paper's λ.

        Args:
            vectors: Two or more; their own factors count in the election and in the mean.
            density: Share of each vector's values that is kept.

        Raises:
            MergeError: If they are not over the same tokens, or the density is out of range.
        """
        return cls.of([Term(1.0, TiesDifference(vectors, density))])

    def slerp(self) -> "TaskVector":
        """Returns the vector with α moving on the sphere: of ``TaskVector(domain, ranker)``, SLERP of Θ_T and Θ_D.

        Without it, ``TaskVector(domain, ranker)`` is linear interpolation: (1 − α)·Θ_T + α·Θ_D.

        Raises:
            MergeError: If the vector is a sum, which has no one direction.
        """
        if len(self.terms) != 1 or self.terms[0].scale != 1:
            raise MergeError(f"{self} is a sum or scaled; SLERP goes from Θ_T to one other model: "
                             "TaskVector(domain, ranker).slerp()")
        return self.of([replace(self.terms[0], sphere=True)])

    def _edited(self, edit: Edit) -> "TaskVector":
        return self.of(replace(term, edits=(*term.edits, edit)) for term in self.terms)

    def save(self, path: str | Path) -> Path:
        """Writes τ in float32 as one ``.safetensors`` file, under a temporary name first.

        Args:
            path: Where; an existing file is replaced.

        Raises:
            MergeError: If the terms are not over the same vocabulary, or one lacks what another has, or α would move
                on a sphere.
        """
        path = Path(path)
        if any(term.sphere for term in self.terms):
            raise MergeError("SLERP depends on Θ_T, so there is no τ to save; save the vector without .slerp()")
        first = self.terms[0].difference
        state: dict[str, torch.Tensor] = {}
        for name in dict.fromkeys(name for term in self.terms for name in term.difference.shapes):
            for term in self.terms:
                if not term.selects(name):
                    continue
                if not term.covers(name):
                    if is_head(name):
                        continue
                    raise MergeError(f"{name!r} is absent from {term.difference.lacking(name)}; save the terms one by "
                                     "one")
                value = term.tensor(name).mul_(term.scale)
                if term.difference.vocabulary != first.vocabulary or state.get(name, value).shape != value.shape:
                    raise MergeError(f"{term} and {self.terms[0]} have different vocabularies or shapes ({name}); save "
                                     "them one by one")
                state[name] = state[name].add_(value) if name in state else value
        selections = [[layers.text for layers in (*selection, *term.layers)]
                      for term in self.terms for selection in term.difference.selections]
        metadata = {"format": FORMAT, "recipe": json.dumps(str(self)), "config": json.dumps(dict(first.config)),
                    "vocabulary": json.dumps(first.vocabulary), "selections": json.dumps(selections)}
        try:
            with new_file(path) as temporary:
                save_file(state, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(errno.EIO, f"the vector cannot be written ({first_line(error)})", str(path)) from error
        finally:
            self.close()
        return path

    def __repr__(self) -> str:
        """Returns code that makes an equal vector."""
        return " + ".join(map(_code, self.terms))


def _code(term: Term) -> str:
    """Returns code that makes a vector of one term."""
    difference = term.difference
    if isinstance(difference, CheckpointDifference):
        made = f"TaskVector({difference.domain.source!r}, {difference.base.source!r})"
    elif isinstance(difference, TiesDifference):
        made = f"TaskVector.ties({', '.join(map(repr, difference.vectors))}, density={difference.trim.density!r})"
    elif isinstance(difference, SavedDifference):
        made = f"TaskVector.load({str(difference.path)!r})"
    else:
        made = repr(difference)
    made += "".join([f".layers({layers.text!r})" for layers in term.layers] + [f".{edit}" for edit in term.edits]
                    + [".slerp()"] * term.sphere)
    return made if term.scale == 1 else f"{str(term.scale).removesuffix('.0')} * {made}"
