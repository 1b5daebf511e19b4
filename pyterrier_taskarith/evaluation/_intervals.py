"""Confidence intervals of a mean over queries: Student's t, and the bootstrap."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Resamples are drawn and averaged this many numbers at a time, to bound memory.
BATCH_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A kind of two-sided confidence interval of a mean.

    Attributes:
        label: What the notes call it.
        run: (values, level, resamples, seed) → (low, high). It never sees values that are all equal.
        drawn: Whether it draws resamples, so that their number and the seed matter.
    """

    label: str
    run: Callable[[NDArray[np.float64], float, int, int], tuple[float, float]]
    drawn: bool

    def described(self, resamples: int, seed: int) -> str:
        """The label, and what it was drawn with."""
        return f"{self.label} ({resamples:,} resamples of the queries, seed {seed})" if self.drawn else self.label


def student(values: NDArray[np.float64], level: float, resamples: int = 0, seed: int = 0) -> tuple[float, float]:
    """Student's t interval, which goes with the t-test: `scipy.stats.ttest_1samp`'s."""
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    return float(interval.low), float(interval.high)


def bca_bootstrap(values: NDArray[np.float64], level: float, resamples: int, seed: int) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval: `scipy.stats.bootstrap`.

    Queries are drawn with replacement. It assumes no normal distribution, and may be lopsided where the differences
    are. NaN where the resamples cannot tell (very few queries).

    Source: Efron, "Better Bootstrap Confidence Intervals", Journal of the American Statistical Association, 1987.
    """
    result = stats.bootstrap((values,), np.mean, confidence_level=level, n_resamples=resamples, method="BCa",
                             batch=max(1, BATCH_NUMBERS // len(values)), rng=np.random.default_rng(seed))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


INTERVALS = {
    "t": Interval("Student's t intervals", student, drawn=False),
    "bootstrap": Interval("BCa bootstrap intervals", bca_bootstrap, drawn=True),
}


def mean_interval(values: NDArray[np.float64], *, interval: str, level: float, resamples: int,
                  seed: int) -> tuple[float, float]:
    """Returns the confidence interval of a mean.

    Args:
        values: One value for each query, shape (queries,), float64.
        interval: A key of `INTERVALS`.
        level: Confidence level, such as .99.
        resamples: Resamples of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        (low, high). Values that are all equal have no spread: both ends are that value; of one value, NaN.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    if values.min() == values.max():
        return float(values[0]), float(values[0])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # SciPy warns where it then returns NaN, which is printed as "n/a".
        warnings.simplefilter("ignore", RuntimeWarning)
        return INTERVALS[interval].run(values, level, resamples, seed)
