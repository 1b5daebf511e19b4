"""DARE: drop and rescale (Yu et al., ICML 2024, arXiv:2311.03099)."""

import hashlib
from dataclasses import dataclass

import torch

from pyterrier_taskarith.arithmetic.methods._share import check_share
from pyterrier_taskarith.errors import MergeError


@dataclass(frozen=True)
class Dare:
    """Sets values of τ to 0 at random and divides the others by the share that is kept: the mean stays.

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
