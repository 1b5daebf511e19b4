"""How far merged weights lie from exact arithmetic, in float64, tensor by tensor."""

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint

#: The integer with which the next number of a float type is found.
_BITS = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def misrounded(folder, triple, alpha):
    """Compares a merged folder with T + α(D − B) computed in float64 from the files.

    α = .7 and α = float32(.7) are told apart: of 16-bit models τ is a small multiple of a power of two, so that .7·τ
    often falls exactly between two numbers of the output's dtype, and what is nearer then hangs on α's eighth digit.

    Returns:
        The share of weights for which a neighbour in the output's dtype lies nearer to the exact value for α; the same
        for α as float32 holds it; and the largest distance from the exact value for the latter rounded to float32, in
        units of the last place (float32) of the largest of Θ_T, α·τ and Θ': where they cancel, the result has fewer
        digits than either.
    """
    merged, ranker, domain, base = (Checkpoint(path) for path in (folder, triple.ranker, triple.domain, triple.base))
    wrong = wrong_for_32 = count = 0
    farthest = 0.0
    for name in merged.shapes:
        ours = merged.tensor(name).flatten()
        terms = [checkpoint.tensor(name).flatten() for checkpoint in (ranker, domain, base)]
        for start in range(0, ours.numel(), 2**22):
            made = ours[start:start + 2**22]
            wide = [term[start:start + 2**22].double() for term in terms]
            wrong += _nearer(made, wide[0] + alpha * (wide[1] - wide[2]))
            added = float(np.float32(alpha)) * (wide[1] - wide[2])
            exact = wide[0] + added
            wrong_for_32, count = wrong_for_32 + _nearer(made, exact), count + made.numel()
            largest = torch.maximum(torch.maximum(wide[0].abs(), added.abs()), exact.abs())
            off = (made.double() - exact.float().double()).abs()
            farthest = max(farthest, float((off / torch.from_numpy(np.spacing(largest.float().numpy()))).max()))
    for checkpoint in (merged, ranker, domain, base):
        checkpoint.close()
    return wrong / count, wrong_for_32 / count, farthest


def _nearer(made, exact):
    """Returns how many weights have a neighbour that lies nearer to the exact value."""
    off, bits = (made.double() - exact).abs(), made.view(_BITS[made.dtype])
    return int((sum(((bits + step).view(made.dtype).double() - exact).abs() < off for step in (-1, 1)) > 0).sum())
