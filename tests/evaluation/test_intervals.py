"""Bootstrap intervals against the formula done by hand, and what is printed of them."""

import math

import numpy as np
import pytest
from scipy import stats

from pyterrier_taskarith.evaluation import _significance, compare, mean_interval


def bootstrap(values, level=.95, resamples=20_000, seed=1) -> tuple[float, float]:
    return mean_interval(np.asarray(values, float), interval="bootstrap", level=level, resamples=resamples, seed=seed)


def bca_by_hand(values: np.ndarray, level: float, resamples: int) -> tuple[float, float]:
    """Efron (1987), eqs. 2.3 and 6.6, with draws of its own."""
    n, normal = len(values), stats.norm()
    means = np.sort(values[np.random.default_rng(99).integers(0, n, (resamples, n))].mean(axis=1))
    bias = normal.ppf((means < values.mean()).mean() / 2 + (means <= values.mean()).mean() / 2)
    without = (values.sum() - values) / (n - 1)
    skew = without.mean() - without
    acceleration = (skew**3).sum() / (6 * (skew**2).sum() ** 1.5)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + normal.ppf(tail)
        ends.append(np.quantile(means, normal.cdf(bias + z / (1 - acceleration * z))))
    return tuple(ends)


@pytest.mark.parametrize("level", [.95, .99])
def test_the_bootstrap_is_bca_by_hand(level):
    values = np.random.default_rng(5).exponential(size=40) ** 2 - 1  # lopsided, so that the corrections matter
    low, high = bootstrap(values, level)
    width = high - low
    assert (low, high) == pytest.approx(bca_by_hand(values, level, 20_000), abs=.04 * width)
    plain = np.quantile(values[np.random.default_rng(1).integers(0, 40, (20_000, 40))].mean(axis=1),
                        [(1 - level) / 2, (1 + level) / 2])
    assert high - plain[1] > .05 * width, "the percentile interval is another"


def test_on_normal_values_both_kinds_agree():
    values = np.random.default_rng(3).normal(.1, 1, 400)
    student = stats.ttest_1samp(values, 0).confidence_interval(.95)
    assert mean_interval(values, interval="t", level=.95, resamples=0, seed=0) == pytest.approx(tuple(student))
    assert bootstrap(values) == pytest.approx(tuple(student), abs=.05 * (student.high - student.low))


def test_draws_repeat_with_the_seed_and_may_be_cut_into_batches(monkeypatch):
    values = np.random.default_rng(4).normal(size=30)
    whole = bootstrap(values)
    assert bootstrap(values) == whole != bootstrap(values, seed=2)
    monkeypatch.setattr(_significance, "CHUNK_NUMBERS", 3_000)
    assert bootstrap(values) == pytest.approx(whole, abs=.02)


@pytest.mark.parametrize("interval", _significance.INTERVALS)
def test_values_without_spread_have_an_interval_without_width(interval, recwarn):
    options = {"interval": interval, "level": .99, "resamples": 1000, "seed": 1}
    assert mean_interval(np.full(5, .25), **options) == (.25, .25)
    assert mean_interval(np.zeros(5), **options) == (0, 0)
    assert all(math.isnan(end) for end in mean_interval(np.array([.25]), **options))
    assert not recwarn.list


def test_the_kind_of_interval_changes_nothing_else(runs, qrels, baselines):
    measures = ["ndcg_cut_10", "P_5"]
    student = compare(runs, qrels, measures, baselines=baselines)
    drawn = compare(runs, qrels, measures, baselines=baselines, interval="bootstrap", resamples=2_000)
    ends = ["ci_low", "ci_high"]
    assert drawn.tests.drop(columns=ends).equals(student.tests.drop(columns=ends))
    assert not drawn.tests[ends].equals(student.tests[ends])
    assert str(drawn) == str(student)
    width = student.tests["ci_high"] - student.tests["ci_low"]
    for end in ends:
        assert ((drawn.tests[end] - student.tests[end]).abs() < .35 * width).all()
    # The ends are those of SciPy's bootstrap of the differences, at the corrected level.
    row = drawn.tests.iloc[0]
    values = drawn.per_query[drawn.per_query["measure"] == row.measure].pivot(index="qid", columns="system",
                                                                              values="value")
    expected = stats.bootstrap(((values[row.system] - values[row.baseline]).to_numpy(),), np.mean,
                               confidence_level=1 - .01 / 2, n_resamples=2_000, method="BCa",
                               rng=np.random.default_rng(42)).confidence_interval
    assert (row.ci_low, row.ci_high) == (expected.low, expected.high)


def test_what_was_drawn_is_printed(runs, qrels, baselines):
    student = compare(runs, qrels, "ndcg_cut_10", baselines=baselines)
    drawn = compare(runs, qrels, "ndcg_cut_10", baselines=baselines, interval="bootstrap", resamples=2_000, seed=7)
    assert drawn.to_text(details=True).splitlines()[-1].startswith(
        "BCa bootstrap intervals (2,000 resamples of the queries, seed 7) of the mean difference, at 99.5 % each, "
        "99 % over all comparisons of a measure; the star follows the test, not the interval; d_z: ")
    assert "99.5 % bootstrap confidence interval" in drawn.in_words()
    assert "bootstrap" not in student.to_text(details=True) + student.in_words()


@pytest.mark.parametrize(("options", "message"), [
    ({"interval": "percentile"}, r"unknown interval 'percentile': choose one of 't', 'bootstrap'"),
    ({"interval": "bootstrap", "resamples": 399},
     r"resamples=399 is too few for BCa bootstrap intervals at 99.5 %: give at least 400"),
])
def test_what_cannot_be_drawn_is_refused(runs, qrels, baselines, options, message):
    with pytest.raises(ValueError, match=message):
        compare(runs, qrels, "map", baselines=baselines, **options)
