"""How systems are tested, in one place: the test, the correction, the number of comparisons, the confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.evaluation._significance import INTERVALS, TESTS
from pyterrier_taskarith.evaluation.tables import percent


def bonferroni(p: NDArray[np.float64], n_comparisons: int) -> NDArray[np.float64]:
    """Bonferroni: every p value times the number of comparisons, at most 1.

    Args:
        p: p values of one measure, shape (systems,). NaN stays NaN.
        n_comparisons: The number to correct for; tests that gave NaN are part of it.

    Returns:
        Corrected p values, shape (systems,).
    """
    return np.minimum(p * n_comparisons, 1.0)


def holm(p: NDArray[np.float64], n_comparisons: int) -> NDArray[np.float64]:
    """Holm's step-down procedure: the i-th smallest p value times n − i + 1, never below the one before it.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics, 1979.

    Args:
        p: p values of one measure, shape (systems,). NaN ranks after all others and stays NaN, so it is never
            rejected (statsmodels' Holm rejects it).
        n_comparisons: The number to correct for, at least the number of p values; tests that gave NaN are part of it.

    Returns:
        Corrected p values, shape (systems,).
    """
    corrected = np.empty(len(p))
    order = np.argsort(p)  # NaN comes last, so it changes nothing before it
    factors = n_comparisons - np.arange(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


@dataclass(frozen=True)
class Correction:
    """A correction for multiple comparisons: what the footer calls it, and the function."""

    label: str
    run: Callable[[NDArray[np.float64], int], NDArray[np.float64]]


CORRECTIONS = {"bonferroni": Correction("Bonferroni", bonferroni), "holm": Correction("Holm", holm)}


@dataclass(frozen=True)
class Procedure:
    """How the systems of a comparison are tested.

    Attributes:
        test: "t" (the paper's), "wilcoxon" or "fisher".
        correction: "bonferroni" (the paper's), "holm", or None for uncorrected p values.
        n_comparisons: How many comparisons to correct for in each measure.
        confidence: A corrected p value below 1 − confidence is significant.
        resamples: Sign assignments of the Fisher test (with fewer possible ones, all are tried), and resamples of the
            bootstrap.
        seed: Seed of both.
        interval: "t" or "bootstrap": the kind of the confidence intervals, whatever the test.
    """

    test: str
    correction: str | None
    n_comparisons: int
    confidence: float
    resamples: int
    seed: int
    interval: str = "t"

    def __post_init__(self) -> None:
        """Refuses what cannot be tested.

        Raises:
            ValueError: An unknown test or correction, or a number out of its range.
        """
        if self.test not in TESTS:
            raise TaskArithError(f"unknown test {self.test!r}: choose one of {', '.join(map(repr, TESTS))}")
        if self.correction is not None and self.correction not in CORRECTIONS:
            raise TaskArithError(f"unknown correction {self.correction!r}: choose one of "
                                 f"{', '.join(map(repr, CORRECTIONS))} or None")
        if self.interval not in INTERVALS:
            raise TaskArithError(f"unknown interval {self.interval!r}: choose one of {', '.join(map(repr, INTERVALS))}")
        if not isinstance(self.confidence, Real) or not 0 < self.confidence < 1:
            raise TaskArithError(f"confidence={self.confidence!r} is not between 0 and 1: 99 % is 0.99")
        for name in ("n_comparisons", "resamples"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise TaskArithError(f"{name}={value!r} is not a whole number of at least 1")
        # The smallest p value that n draws can give is 1 / (n + 1).
        least = math.ceil((self.n_comparisons if self.correction else 1) / self.alpha)
        if self.test == "fisher" and self.resamples < least:
            raise TaskArithError(f"resamples={self.resamples} is too few for the Fisher test to find anything "
                                 f"significant ({self}): give at least {least}")
        # An end of an interval is read from the resamples beyond it: there must be some on either side.
        if INTERVALS[self.interval].drawn and self.resamples < 2 * least:
            raise TaskArithError(f"resamples={self.resamples} is too few for {INTERVALS[self.interval].label} at "
                                 f"{percent(self.interval_confidence)}: give at least {2 * least}")

    @property
    def alpha(self) -> float:
        """The significance level: 1 − confidence, without the last bits of a subtraction (1 - .99 is not .01)."""
        return round(1 - self.confidence, 12)

    @property
    def interval_confidence(self) -> float:
        """The level of each confidence interval: 1 − α / n where p values are corrected, so that all hold together.

        With the t-test, Student's intervals and Bonferroni an interval leaves out 0 exactly where the corrected p value
        is significant. Holm has no such simple intervals: Bonferroni's are given, which are wider.
        """
        return 1 - self.alpha / (self.n_comparisons if self.correction else 1)

    @property
    def interval_label(self) -> str:
        """What the intervals are called, with what they were drawn with."""
        return INTERVALS[self.interval].described(self.resamples, self.seed)

    def correct(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corrects the p values of one measure.

        Args:
            p: Shape (systems,), NaN where nothing could be tested.

        Returns:
            Corrected p values, shape (systems,).
        """
        return CORRECTIONS[self.correction].run(p, self.n_comparisons) if self.correction else p.copy()

    def __str__(self) -> str:
        test = TESTS[self.test].label
        if self.test == "fisher":
            test += f" (at most {self.resamples:,} assignments, seed {self.seed})"
        comparisons = f"{self.n_comparisons} comparison{'s' * (self.n_comparisons != 1)} in each measure"
        correction = f"{CORRECTIONS[self.correction].label} over" if self.correction else "uncorrected for"
        return f"{test}, {correction} {comparisons}, {percent(self.confidence)} confidence"
