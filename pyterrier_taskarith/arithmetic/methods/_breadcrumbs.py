"""Model Breadcrumbs (Davari and Belilovsky, ECCV 2024, arXiv:2312.06795)."""

from dataclasses import dataclass

import torch

from pyterrier_taskarith.arithmetic.methods._share import check_share
from pyterrier_taskarith.arithmetic.methods._trim import keep_ranked
from pyterrier_taskarith.errors import MergeError


@dataclass(frozen=True)
class Breadcrumbs:
    """Sets the largest and the smallest values of τ by magnitude to 0 in each parameter; nothing is rescaled.

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
