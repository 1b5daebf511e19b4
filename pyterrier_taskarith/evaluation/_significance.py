"""Paired tests, confidence intervals, corrections for multiple comparisons, and the procedure that joins them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.tables import percent

Values = NDArray[np.float64]

#: Means that differ by less are equal: their last bits depend on the order in which values are summed.
MEAN_TOLERANCE = 1e-12

# Sign assignments and resamples are drawn and summed this many numbers at a time, to bound memory.
CHUNK_NUMBERS = 4_000_000


def highest(means: ArrayLike) -> NDArray[np.bool_]:
    """Returns which means are the highest, equal ones all; NaN never is."""
    values = np.asarray(means, dtype=np.float64)
    return values >= np.max(values, initial=-np.inf, where=~np.isnan(values)) - MEAN_TOLERANCE


class PairedResult(NamedTuple):
    """The result of :func:`paired_comparison`; NaN where nothing can be tested."""

    difference: float
    ci_low: float
    ci_high: float
    statistic: float
    p: float
    wins: int
    ties: int
    losses: int
    effect_size: float


def student_t(differences: Values, resamples: int = 0, seed: int = 0) -> tuple[float, float]:
    """Two-sided paired Student's t-test, the paper's (§3.1): `scipy.stats.ttest_rel`."""
    result = stats.ttest_1samp(differences, 0.0)
    return float(result.statistic), float(result.pvalue)


def wilcoxon(differences: Values, resamples: int = 0, seed: int = 0) -> tuple[float, float]:
    """Two-sided Wilcoxon signed-rank test, zero differences left out: `scipy.stats.wilcoxon`."""
    result = stats.wilcoxon(differences)
    return float(result.statistic), float(result.pvalue)


def fisher_randomization(differences: Values, resamples: int, seed: int) -> tuple[float, float]:
    """Two-sided Fisher randomisation test of the mean difference.

    Under the null hypothesis the two systems' values of a query may be swapped, which turns the sign of the
    difference. All assignments of signs are tried where there are at most `resamples` of them; else that many are
    drawn, and the observed one is counted among them, so that p is never 0.

    Source: Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation", CIKM 2007; the count of the observed assignment: Phipson and Smyth, "Permutation P-values Should
    Never Be Zero", 2010.
    """
    moving = differences[differences != 0]  # the sign of a zero does not matter
    n = len(moving)
    # Sums of the same numbers in another order differ in the last bits: they count as equal.
    threshold = abs(moving.sum()) - 1e-12 * np.abs(moving).sum()
    exact = 2**n <= resamples
    total = 2**n if exact else resamples
    random = np.random.default_rng(seed)
    chunk = max(1, CHUNK_NUMBERS // n)
    as_extreme = 0
    for start in range(0, total, chunk):
        rows = min(chunk, total - start)
        if exact:
            flipped = (np.arange(start, start + rows)[:, None] >> np.arange(n)) & 1
        else:
            flipped = random.integers(0, 2, size=(rows, n), dtype=np.int8)
        sums = moving.sum() - 2 * (flipped.astype(np.float64) @ moving)
        as_extreme += int((np.abs(sums) >= threshold).sum())
    p = as_extreme / total if exact else (as_extreme + 1) / (total + 1)
    return float(differences.mean()), p


#: Key -> label in a table's notes, and (differences, resamples, seed) -> (statistic, p); not called if all are 0.
TESTS: dict[str, tuple[str, Callable[[Values, int, int], tuple[float, float]]]] = {
    "t": ("two-sided paired Student's t-test", student_t),
    "wilcoxon": ("two-sided Wilcoxon signed-rank test", wilcoxon),
    "fisher": ("two-sided Fisher randomisation test", fisher_randomization),
}


def student(values: Values, level: float, resamples: int = 0, seed: int = 0) -> tuple[float, float]:
    """Student's t interval, which goes with the t-test: `scipy.stats.ttest_1samp`'s."""
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    return float(interval.low), float(interval.high)


def bca_bootstrap(values: Values, level: float, resamples: int, seed: int) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval: `scipy.stats.bootstrap`.

    Queries are drawn with replacement. It assumes no normal distribution, and may be lopsided where the differences
    are. NaN where the resamples cannot tell (very few queries).

    Source: Efron, "Better Bootstrap Confidence Intervals", Journal of the American Statistical Association, 1987.
    """
    result = stats.bootstrap((values,), np.mean, confidence_level=level, n_resamples=resamples, method="BCa",
                             batch=max(1, CHUNK_NUMBERS // len(values)), rng=np.random.default_rng(seed))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


#: Key -> label in a table's notes, and (values, level, resamples, seed) -> (low, high); not called if all are equal.
INTERVALS: dict[str, tuple[str, Callable[[Values, float, int, int], tuple[float, float]]]] = {
    "t": ("Student's t intervals", student),
    "bootstrap": ("BCa bootstrap intervals", bca_bootstrap),
}


def mean_interval(values: Values, *, interval: str, level: float, resamples: int = 0,
                  seed: int = 0) -> tuple[float, float]:
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
        return INTERVALS[interval][1](values, level, resamples, seed)


def paired_comparison(system: Values, baseline: Values, *, test: str, level: float, resamples: int, seed: int,
                      interval: str = "t") -> PairedResult:
    """Compares a system with a baseline on the same queries in the same order; values of shape (queries,), float64.

    Where all values are equal, or there is one query, p, the statistic and the effect size are NaN. The effect size is
    Cohen's d_z, the mean difference over the standard deviation of the differences (Cohen, "Statistical Power Analysis
    for the Behavioral Sciences", 1988, §2.3.5). The other arguments are those of :class:`Procedure`; ``level`` is the
    confidence level of the interval.
    """
    differences = system - baseline
    mean = float(differences.mean())
    statistic = p = effect_size = float("nan")
    if len(differences) > 1:
        # Equal differences have no spread: SciPy warns, and the results (0, NaN or infinity) are the right ones.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            if differences.any():
                statistic, p = TESTS[test][1](differences, resamples, seed)
                effect_size = float(np.divide(mean, differences.std(ddof=1)))
    low, high = mean_interval(differences, interval=interval, level=level, resamples=resamples, seed=seed)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedResult(mean, low, high, statistic, p, wins, len(differences) - wins - losses, losses, effect_size)


def bonferroni(p: Values, n_comparisons: int) -> Values:
    """Multiplies each p value by the number of comparisons, to at most 1; NaN stays NaN."""
    return np.minimum(p * n_comparisons, 1.0)


def holm(p: Values, n_comparisons: int) -> Values:
    """Holm's step-down procedure: the i-th smallest p value times n − i + 1, never below the one before it.

    NaN ranks after all others and stays NaN, so it is never rejected (statsmodels' Holm rejects it).

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics, 1979.
    """
    corrected = np.empty(len(p))
    order = np.argsort(p)  # NaN comes last, so it changes nothing before it
    factors = n_comparisons - np.arange(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


#: Key -> label in a table's notes, and (p values of one measure, n_comparisons) -> corrected p values.
CORRECTIONS = {"bonferroni": ("Bonferroni", bonferroni), "holm": ("Holm", holm)}


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
        if self.interval == "bootstrap" and self.resamples < 2 * least:
            raise TaskArithError(f"resamples={self.resamples} is too few for {INTERVALS[self.interval][0]} at "
                                 f"{percent(self.interval_confidence)}: give at least {2 * least}")

    @property
    def alpha(self) -> float:
        """The significance level: 1 − confidence, without the last bits of a subtraction (1 - .99 is not .01)."""
        return round(1 - self.confidence, 12)

    @property
    def interval_confidence(self) -> float:
        """The level of each confidence interval: 1 − α / n where p values are corrected, so that all hold together.

        With the t-test, Student's intervals and Bonferroni, an interval excludes 0 exactly where the corrected p value
        is significant. Holm has no such simple intervals: Bonferroni's are given, which are wider.
        """
        return 1 - self.alpha / (self.n_comparisons if self.correction else 1)

    @property
    def interval_label(self) -> str:
        """The name of the intervals, with the resamples and the seed of the bootstrap."""
        label = INTERVALS[self.interval][0]
        if self.interval == "bootstrap":
            label += f" ({self.resamples:,} resamples of the queries, seed {self.seed})"
        return label

    def correct(self, p: Values) -> Values:
        """Returns the corrected p values of one measure, shape (systems,); NaN where nothing could be tested."""
        return CORRECTIONS[self.correction][1](p, self.n_comparisons) if self.correction else p.copy()

    def __str__(self) -> str:
        test = TESTS[self.test][0]
        if self.test == "fisher":
            test += f" (at most {self.resamples:,} assignments, seed {self.seed})"
        comparisons = f"{self.n_comparisons} comparison{'s' * (self.n_comparisons != 1)} in each measure"
        correction = f"{CORRECTIONS[self.correction][0]} over" if self.correction else "uncorrected for"
        return f"{test}, {correction} {comparisons}, {percent(self.confidence)} confidence"
