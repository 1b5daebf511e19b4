"""Θ' = Θ_T + Σ α_i τ_i (paper, eq. 2) as something to read or save."""

from collections.abc import Mapping
from functools import cached_property
from itertools import count
from pathlib import Path

import torch

from pyterrier_taskarith.arithmetic._add import add
from pyterrier_taskarith.arithmetic._alphas import Alpha, LayerAlphas, as_alpha
from pyterrier_taskarith.arithmetic._difference import check_finite
from pyterrier_taskarith.arithmetic._plan import MergePlan, Step, make_plan
from pyterrier_taskarith.arithmetic._task_vector import TaskVector
from pyterrier_taskarith.arithmetic._term import added
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import MergeError


class Merge:
    """A ranker plus task vectors; made by ``Checkpoint(T) + 0.7 * vector``, computed when read or saved."""

    def __init__(self, ranker: Checkpoint, vectors: Mapping[str, TaskVector],
                 alphas: Mapping[str, float | Alpha | Mapping[str, float]]) -> None:
        """States the sum.

        Args:
            ranker: Θ_T.
            vectors: Task vectors by name.
            alphas: For each of them, a number or one for each group of layers (``{"default": 0.7, "embeddings": 0}``).

        Raises:
            MergeError: If a vector has no α, or an α no vector, or is not finite.
        """
        if set(vectors) != set(alphas):
            raise MergeError(f"alphas={dict(alphas)}: give one α for each vector, {', '.join(vectors)}")
        self.ranker, self.vectors = ranker, dict(vectors)
        self.alphas: dict[str, Alpha] = {name: as_alpha(alpha, name) for name, alpha in alphas.items()}

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
        """What happens to every parameter.

        Raises:
            MergeError: If the models do not fit each other, or an α by layers does not fit them.
        """
        plan = make_plan(self.ranker, self.vectors)
        plan.check_alphas(self.alphas)
        return plan

    def steps(self, name: str) -> list[Step]:
        """Returns what is added to a parameter, in order."""
        return self.plan.steps(name, self.alphas)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one parameter of Θ' in float32; one that nothing is added to, as the files hold it.

        Args:
            name: Its canonical name.

        Raises:
            MergeError: If a value is NaN or infinite.
        """
        value = self.ranker.tensor(name)
        check_finite(value, name, f"Θ_T {self.ranker.source!r}")
        steps = self.steps(name)
        if not steps:
            return value
        value = value.to(torch.float32)
        result = torch.empty_like(value)
        for step in steps:
            add(step, value, step.term.tensor(name), out=result)
            value = result
        return result

    def save(self, folder: str | Path, *, dtype: str | None = None, shard_size: str | int | None = None,
             overwrite: bool = False, verbose: bool = False) -> Path:
        """Writes Θ' as an ordinary model folder; see :func:`save_merge`.

        Args:
            folder: Where; it must not exist, or be empty, or hold this very merge, which is then left as it is.
            dtype: "float32", "float16" or "bfloat16"; None keeps each parameter's dtype in Θ_T.
            shard_size: Largest weight file, such as "5GB" (the default) or a number of bytes.
            overwrite: Whether a folder that holds another merge, and nothing else, is replaced.
            verbose: Whether to show progress.

        Raises:
            MergeError: If the models do not fit each other, or the folder holds something else.
            OSError: If the disk is full or read-only; nothing is left behind then.
        """
        from pyterrier_taskarith.arithmetic.save import save_merge

        return save_merge(self, Path(folder), dtype=dtype, shard_size=shard_size, overwrite=overwrite, verbose=verbose)

    def __repr__(self) -> str:
        return f"Merge({self})"

    def __str__(self) -> str:
        return added([self.ranker.source, *(_scaled(self.alphas[name], vector)
                                            for name, vector in self.vectors.items())])


def _scaled(alpha: Alpha, vector: TaskVector) -> str:
    """Returns α·τ in words, with every digit."""
    if not isinstance(alpha, LayerAlphas):
        return str(alpha * vector)
    return f"{alpha}·{vector}" if len(vector.terms) == 1 and vector.terms[0].scale == 1 else f"{alpha}·({vector})"
