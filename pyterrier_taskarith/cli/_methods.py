"""Merge methods beside plain task arithmetic, on the command line."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyterrier_taskarith.arithmetic import TaskVector

#: The vector that TIES makes of several.
TIES = "ties"


def density(text: str) -> float:
    """Reads a share above 0 and at most 1.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give the share of the values that is kept, above 0 and at most 1")
    return found


def add_methods(parser: argparse.ArgumentParser) -> None:
    """Adds the options that change τ, or the path along which α moves."""
    methods = parser.add_argument_group("methods", "in the place of plain task arithmetic; one of them")
    one = methods.add_mutually_exclusive_group()
    one.add_argument("--trim", metavar="DENSITY", type=density, help="keep the largest values of τ (TIES' first step)")
    one.add_argument("--ties", metavar="DENSITY", type=density,
                     help="TIES over the vectors given: trim, elect sign, merge; --alpha is the paper's λ")
    one.add_argument("--dare", metavar="DENSITY", type=density, help="DARE: keep values of τ at random, and rescale")
    one.add_argument("--breadcrumbs", metavar="DENSITY", type=density,
                     help="Model Breadcrumbs: drop the largest values (--outliers) and the smallest")
    one.add_argument("--interpolate", choices=("linear", "slerp"), help="between Θ_T and Θ_D; without --base")
    methods.add_argument("--outliers", metavar="SHARE", type=float, default=0.01,
                         help="of --breadcrumbs, 0.01 if left out")
    methods.add_argument("--seed", metavar="N", type=int, default=0, help="of --dare, 0 if left out")


def with_method(given: argparse.Namespace, vectors: "dict[str, TaskVector]") -> "dict[str, TaskVector]":
    """Returns the vectors that the options make of those given.

    Raises:
        MergeError: If a method does not suit the vectors or its numbers are out of range.
    """
    if given.ties is not None:
        from pyterrier_taskarith.arithmetic import TaskVector

        return {TIES: TaskVector.ties(*vectors.values(), density=given.ties)}
    changed = {}
    for name, vector in vectors.items():
        if given.trim is not None:
            vector = vector.trim(given.trim)
        elif given.dare is not None:
            vector = vector.dare(given.dare, seed=given.seed)
        elif given.breadcrumbs is not None:
            vector = vector.breadcrumbs(given.breadcrumbs, outliers=given.outliers)
        elif given.interpolate == "slerp":
            vector = vector.slerp()
        changed[name] = vector
    return changed
