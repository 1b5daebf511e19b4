"""Paired tests of two systems on the same queries, and confidence intervals of a mean over queries."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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
    """What one system's differences to another say."""

    difference: float
    ci_low: float
    ci_high: float
    statistic: float
    p: float
    wins: int
    ties: int
    losses: int
    effect_size: float


@dataclass(frozen=True)
class PairedTest:
    """A two-sided paired test.

    Attributes:
        label: What the table's footer calls it.
        run: (differences, resamples, seed) → (statistic, p). It never sees differences that are all 0.
    """

    label: str
    run: Callable[[Values, int, int], tuple[float, float]]


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


TESTS = {
    "t": PairedTest("two-sided paired Student's t-test", student_t),
    "wilcoxon": PairedTest("two-sided Wilcoxon signed-rank test", wilcoxon),
    "fisher": PairedTest("two-sided Fisher randomisation test", fisher_randomization),
}


@dataclass(frozen=True)
class Interval:
    """A kind of two-sided confidence interval of a mean.

    Attributes:
        label: What the notes call it.
        run: (values, level, resamples, seed) → (low, high). It never sees values that are all equal.
        drawn: Whether it draws resamples, so that their number and the seed matter.
    """

    label: str
    run: Callable[[Values, float, int, int], tuple[float, float]]
    drawn: bool

    def described(self, resamples: int, seed: int) -> str:
        """The label, and what it was drawn with."""
        return f"{self.label} ({resamples:,} resamples of the queries, seed {seed})" if self.drawn else self.label


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


INTERVALS = {
    "t": Interval("Student's t intervals", student, drawn=False),
    "bootstrap": Interval("BCa bootstrap intervals", bca_bootstrap, drawn=True),
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
        return INTERVALS[interval].run(values, level, resamples, seed)


def paired_comparison(
    system: Values, baseline: Values, *, test: str, level: float, resamples: int, seed: int,
    interval: str = "t",
) -> PairedResult:
    """Compares a system with a baseline, query by query.

    Args:
        system: Values of the system, shape (queries,), float64.
        baseline: Values of the baseline for the same queries, in the same order.
        test: A key of `TESTS`.
        level: Confidence level of the interval of the mean difference.
        resamples: Sign assignments of the Fisher test, resamples of the bootstrap.
        seed: Seed of both.
        interval: A key of `INTERVALS`, whatever the test.

    Returns:
        The result. Where all values are equal, or there is one query, nothing can be tested: p, the statistic and
        the effect size are NaN. The effect size is Cohen's d_z, the mean difference over the standard deviation of
        the differences (Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, §2.3.5).
    """
    differences = system - baseline
    mean = float(differences.mean())
    statistic = p = effect_size = float("nan")
    if len(differences) > 1:
        # Equal differences have no spread: SciPy warns, and the results (0, NaN or infinity) are the right ones.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            if differences.any():
                statistic, p = TESTS[test].run(differences, resamples, seed)
                effect_size = float(np.divide(mean, differences.std(ddof=1)))
    low, high = mean_interval(differences, interval=interval, level=level, resamples=resamples, seed=seed)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedResult(mean, low, high, statistic, p, wins, len(differences) - wins - losses, losses, effect_size)
