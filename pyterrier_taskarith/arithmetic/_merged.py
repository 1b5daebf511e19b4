"""Θ' = Θ_T + Σ α_i τ_i (paper, eq. 2) as tensors."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch

from pyterrier_taskarith.arithmetic._addition import Step
from pyterrier_taskarith.arithmetic._alphas import Alpha, LayerAlphas, as_alpha
from pyterrier_taskarith.arithmetic._difference import check_finite
from pyterrier_taskarith.arithmetic._plan import MergePlan, make_plan
from pyterrier_taskarith.arithmetic._term import TermSum, added
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import MergeError


class MergedWeights:
    """A ranker plus task vectors, each with its α; planned and computed when read."""

    def __init__(self, ranker: Checkpoint, vectors: Mapping[str, TermSum],
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
            step.add(value, step.term.tensor(name), out=result)
            value = result
        return result

    def __str__(self) -> str:
        return added([self.ranker.source, *(_scaled(self.alphas[name], vector)
                                            for name, vector in self.vectors.items())])


def _scaled(alpha: Alpha, vector: TermSum) -> str:
    """Returns α·τ in words, with every digit."""
    if not isinstance(alpha, LayerAlphas):
        return added(str(replace(term, scale=term.scale * alpha)) for term in vector.terms)
    return f"{alpha}·{vector}" if len(vector.terms) == 1 and vector.terms[0].scale == 1 else f"{alpha}·({vector})"
