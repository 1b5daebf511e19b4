"""Paired tests, intervals and effect sizes against SciPy and against arithmetic done by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pyterrier_taskarith.evaluation._significance import TESTS, PairedResult, paired_comparison


def compared(system: np.ndarray, baseline: np.ndarray, test: str = "t", level: float = .99,
             resamples: int = 20_000, seed: int = 1) -> PairedResult:
    return paired_comparison(np.asarray(system, float), np.asarray(baseline, float), test=test, level=level,
                             resamples=resamples, seed=seed)


@pytest.fixture
def values() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    baseline = random.choice([0, .1, .2, .5, .9, 1.], size=70)
    return np.clip(baseline + random.choice([-.1, 0, 0, .1, .2], size=70), 0, 1), baseline


def test_t_test_is_scipys_paired_t_test(values):
    system, baseline = values
    expected = stats.ttest_rel(system, baseline)
    result = compared(system, baseline)
    assert result.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert result.statistic == pytest.approx(expected.statistic, rel=1e-12)


@pytest.mark.parametrize("level", [.95, .99, 1 - .01 / 3])
def test_interval_is_scipys_of_the_mean_difference(values, level):
    system, baseline = values
    expected = stats.ttest_rel(system, baseline).confidence_interval(level)
    result = compared(system, baseline, level=level)
    assert (result.ci_low, result.ci_high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_t_test_by_hand():
    # Differences 1, 2, 3: mean 2, standard deviation 1, t = 2 / (1 / √3); with 2 degrees of freedom
    # p = 1 − t / √(t² + 2), and the 95 % quantile of |t| is 4.302652729911275.
    result = compared([1, 3, 5], [0, 1, 2], level=.95)
    t = 2 * math.sqrt(3)
    assert result.statistic == pytest.approx(t)
    assert result.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert (result.ci_low, result.ci_high) == pytest.approx((2 - 4.302652729911275 / math.sqrt(3),
                                                             2 + 4.302652729911275 / math.sqrt(3)))
    assert result.effect_size == pytest.approx(2)
    assert (result.difference, result.wins, result.ties, result.losses) == (2, 3, 0, 0)


def test_wilcoxon_is_scipys(values):
    system, baseline = values
    expected = stats.wilcoxon(system, baseline)
    result = compared(system, baseline, "wilcoxon")
    assert (result.statistic, result.p) == (expected.statistic, expected.pvalue)


def test_fisher_tries_every_assignment_where_there_are_few():
    differences = np.array([.3, -.1, .2, .0, .4, .05])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([1, -1], repeat=6)]
    by_hand = np.mean([total >= abs(differences.sum()) - 1e-9 for total in sums])
    assert compared(differences, np.zeros(6), "fisher").p == pytest.approx(by_hand, abs=0)
    expected = stats.permutation_test((differences, np.zeros(6)), lambda a, b: np.mean(a - b),
                                      permutation_type="samples", n_resamples=np.inf)
    assert compared(differences, np.zeros(6), "fisher").p == pytest.approx(expected.pvalue)


def test_fisher_draws_assignments_where_there_are_many(values):
    system, baseline = values
    result = compared(system, baseline, "fisher", resamples=50_000)
    expected = stats.permutation_test((system, baseline), lambda a, b, axis: np.mean(a - b, axis=axis),
                                      vectorized=True, permutation_type="samples", n_resamples=20_000, rng=3)
    # Three standard errors of the difference of two such proportions.
    error = 3 * math.sqrt(result.p * (1 - result.p) * (1 / 50_000 + 1 / 20_000))
    assert 0 < result.p < .05
    assert result.p == pytest.approx(expected.pvalue, abs=error)


def test_fisher_does_not_lose_ties_to_rounding():
    # P@5 takes few values, so many sums equal the observed one. In whole numbers their exact share is known.
    random = np.random.default_rng(11)
    system, baseline = random.integers(0, 6, 50), random.integers(0, 6, 50)
    share = {0: 1.}
    for step in np.abs(system - baseline):
        sums: dict[int, float] = {}
        for total, weight in share.items():
            for moved in (total + step, total - step):
                sums[moved] = sums.get(moved, 0) + weight / 2
        share = sums
    observed = abs((system - baseline).sum())
    exact = sum(weight for total, weight in share.items() if abs(total) >= observed)
    strictly = sum(weight for total, weight in share.items() if abs(total) > observed)
    p = compared(system / 5, baseline / 5, "fisher", resamples=100_000).p
    assert exact - strictly > .02
    assert p == pytest.approx(exact, abs=.007)


def test_fisher_repeats_with_the_same_seed_and_counts_the_observed_assignment(values):
    system, baseline = values
    assert compared(system, baseline, "fisher", seed=5) == compared(system, baseline, "fisher", seed=5)
    assert compared(system, baseline, "fisher", seed=5).p != compared(system, baseline, "fisher", seed=6).p
    assert compared(np.ones(40), np.zeros(40), "fisher", resamples=999).p == pytest.approx(1 / 1000)


def test_fisher_is_the_same_however_its_draws_are_cut_into_chunks(values, monkeypatch):
    from pyterrier_taskarith.evaluation import _significance

    system, baseline = values
    whole = compared(system, baseline, "fisher", resamples=3001)
    few = compared(system[:8], baseline[:8], "fisher")
    monkeypatch.setattr(_significance, "CHUNK_NUMBERS", 700)
    assert compared(system[:8], baseline[:8], "fisher") == few
    assert compared(system, baseline, "fisher", resamples=3001).p == pytest.approx(whole.p, abs=.02)


@pytest.mark.parametrize("test", TESTS)
def test_direction_does_not_change_p(values, test):
    system, baseline = values
    forth, back = compared(system, baseline, test), compared(baseline, system, test)
    assert forth.p == pytest.approx(back.p)
    assert forth.difference == pytest.approx(-back.difference)
    assert (forth.wins, forth.losses) == (back.losses, back.wins)
    assert (forth.ci_low, forth.ci_high) == pytest.approx((-back.ci_high, -back.ci_low))


@pytest.mark.parametrize("test", TESTS)
def test_equal_values_cannot_be_tested(values, test):
    _, baseline = values
    result = compared(baseline, baseline, test)
    assert math.isnan(result.p) and math.isnan(result.statistic) and math.isnan(result.effect_size)
    assert (result.difference, result.ci_low, result.ci_high) == (0, 0, 0)
    assert (result.wins, result.ties, result.losses) == (0, 70, 0)


@pytest.mark.parametrize("test", TESTS)
def test_one_query_cannot_be_tested_and_does_not_warn(test, recwarn):
    result = compared([.5], [.25], test)
    assert math.isnan(result.p) and math.isnan(result.ci_low)
    assert (result.difference, result.wins) == (.25, 1)
    assert not recwarn.list


def test_the_same_improvement_on_every_query_has_p_0():
    result = compared(np.full(10, .5), np.zeros(10))
    assert (result.p, result.ci_low, result.ci_high, result.effect_size) == (0, .5, .5, math.inf)
