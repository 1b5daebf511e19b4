"""value + factor·τ: the one place where weights are added."""

import torch

from pyterrier_taskarith.arithmetic._plan import Step
from pyterrier_taskarith.arithmetic.methods import add_on_sphere


def add(step: Step, value: torch.Tensor, tau: torch.Tensor, *, out: torch.Tensor) -> None:
    """Writes value + factor·τ into ``out``: ``torch.add`` on whole float32 tensors, the package's specification.

    Args:
        step: The factor, the rows, and whether α moves on a sphere.
        value: float32; may be ``out`` itself.
        tau: float32: the step's term's tensor, on the device of ``out``.
        out: float32.
    """
    if step.term.sphere:
        add_on_sphere(value, tau, step.factor, out=out)
        return
    if step.rows is None:
        torch.add(value, tau, alpha=step.factor, out=out)
        return
    if out is not value:
        out.copy_(value)
    ours, theirs = (torch.from_numpy(rows) for rows in (step.rows.ours, step.rows.theirs))
    ours, theirs = ours.to(out.device), theirs.to(tau.device)
    out[ours] = torch.add(out[ours], tau[theirs], alpha=step.factor)
