"""Interpolation on the sphere (Shoemake, SIGGRAPH 1985; for weights as in mergekit): from Θ_T to Θ_T + τ."""

import math

import torch

#: Directions closer than this (in cosine) are interpolated on the straight line, as mergekit does.
STRAIGHT = 0.9995


def add_on_sphere(value: torch.Tensor, tau: torch.Tensor, factor: float, *, out: torch.Tensor) -> None:
    """Writes the point at ``factor`` of the great circle from ``value`` to ``value + tau`` into ``out``.

    With Ω the angle between the two, a = sin((1 − t)Ω)/sin Ω and b = sin(tΩ)/sin Ω: (a + b)·value + b·tau, over the
    parameter as one vector.

    Args:
        value: float32, Θ_T's parameter.
        tau: float32, same shape: the other end minus ``value``.
        factor: t; 0 is ``value``, 1 the other end.
        out: float32, same shape; not ``value``.
    """
    ours, theirs = value.reshape(-1).double(), tau.reshape(-1).double()
    theirs += ours
    lengths = float(ours.norm() * theirs.norm())
    cosine = float(torch.dot(ours, theirs)) / lengths if lengths else 1.0
    if abs(cosine) > STRAIGHT:
        torch.add(value, tau, alpha=factor, out=out)
        return
    angle = math.acos(cosine)
    first, second = (math.sin(part * angle) / math.sin(angle) for part in (1 - factor, factor))
    torch.mul(value, first + second, out=out)
    out.add_(tau, alpha=second)
