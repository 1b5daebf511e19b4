"""Magnitude trimming: the first step of TIES (Yadav et al., NeurIPS 2023, arXiv:2306.01708)."""

from dataclasses import dataclass

import torch

from pyterrier_taskarith.arithmetic.methods._share import check_share


@dataclass(frozen=True)
class Trim:
    """Keeps the largest values of τ by magnitude in each parameter, and sets the others to 0.

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
