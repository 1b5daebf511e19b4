"""Merges computed by hand: tensors read by safetensors and torch, added by one torch call.

Only `merge_of` and `read`, which make what is compared, call the package.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from pyterrier_taskarith.arithmetic import Merge, TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from testing import Triple
from tests.checkpoints.by_hand import parameters

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A triple and how its files spell names.

    Attributes:
        triple: the folders.
        prefix: what base and domain put before the backbone's names.
        tied_output: whether a T5's `lm_head.weight` is its embedding.
    """

    triple: Triple
    prefix: str = ""
    tied_output: bool = True

    @cached_property
    def ranker(self) -> Tensors:
        """Θ_T under bare names, as stored."""
        return parameters(self.triple.ranker, tied_output=self.tied_output)

    @cached_property
    def domain(self) -> Tensors:
        """Θ_D under bare names, as stored."""
        return parameters(self.triple.domain, prefix=self.prefix, tied_output=self.tied_output)

    @cached_property
    def base(self) -> Tensors:
        """Θ_0 under bare names, as stored."""
        return parameters(self.triple.base, prefix=self.prefix, tied_output=self.tied_output)

    @cached_property
    def tau(self) -> Tensors:
        """Θ_D − Θ_0 in float32, of the parameters that both have."""
        return {name: self.domain[name].float() - self.base[name].float() for name in self.domain if name in self.base}

    def merged(self, alpha: float) -> Tensors:
        """Θ' in float32; a parameter that τ lacks is Θ_T's."""
        return {name: torch.add(tensor.float(), self.tau[name], alpha=alpha) if name in self.tau else tensor.float()
                for name, tensor in self.ranker.items()}


def ulps_from_float64(ours: torch.Tensor, ranker: torch.Tensor, domain: torch.Tensor, base: torch.Tensor,
                      alpha: float) -> np.ndarray:
    """How far float32 weights lie from float64 arithmetic (α as float32 holds it), rounded to float32.

    In units of the last place of the largest number that takes part: where Θ_T and α·τ cancel, the result has fewer
    digits than either, and no float32 arithmetic keeps them.
    """
    wide = [tensor.to(torch.float64).numpy() for tensor in (ranker, domain, base)]
    added = np.float64(np.float32(alpha)) * (wide[1] - wide[2])
    exact = (wide[0] + added).astype(np.float32)
    largest = np.maximum.reduce([np.abs(wide[0]), np.abs(added), np.abs(exact)]).astype(np.float32)
    return np.abs(ours.numpy().astype(np.float64) - exact) / np.spacing(largest)


def merge_of(triple: Triple, alpha: float = 0.7, *, ranker: Path | None = None) -> Merge:
    """The package's own merge of a triple, to be compared."""
    return Checkpoint(ranker or triple.ranker) + alpha * TaskVector(triple.domain, triple.base)


def read(merge: Merge, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Parameters of the package's own merge, to be compared."""
    return {name: merge.tensor(name) for name in names}
