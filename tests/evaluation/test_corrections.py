"""Bonferroni and Holm against statsmodels, and the procedure's own rules."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from pyterrier_taskarith.evaluation._significance import CORRECTIONS, Procedure, bonferroni, holm

FUNCTIONS = {"bonferroni": bonferroni, "holm": holm}


@pytest.mark.parametrize("method", FUNCTIONS)
@pytest.mark.parametrize("seed", range(8))
def test_corrected_p_values_are_statsmodels(method, seed):
    random = np.random.default_rng(seed)
    p = random.random(random.integers(1, 9)) ** random.integers(1, 6)
    expected = multipletests(p, alpha=.01, method=method)[1]
    assert FUNCTIONS[method](p, len(p)) == pytest.approx(expected, rel=1e-12)


def test_holm_with_equal_p_values():
    p = np.array([.02, .02, .5, .02])
    assert holm(p, 4) == pytest.approx(multipletests(p, method="holm")[1])


@pytest.mark.parametrize("method", FUNCTIONS)
def test_a_test_without_p_value_is_counted_as_if_it_found_nothing_and_never_rejected(method):
    p = np.array([.004, np.nan, .02, np.nan, .001])
    corrected = FUNCTIONS[method](p, 5)
    assert np.isnan(corrected).tolist() == [False, True, False, True, False]
    expected = multipletests(np.where(np.isnan(p), 1., p), method=method)[1]
    assert corrected[~np.isnan(p)] == pytest.approx(expected[~np.isnan(p)])
    assert not (corrected[np.isnan(p)] < .99).any()


@pytest.mark.parametrize("method", FUNCTIONS)
def test_more_comparisons_than_tests(method):
    p = np.array([.001, .01, .04])
    expected = multipletests([*p, 1, 1, 1, 1], method=method)[1][:3]
    assert FUNCTIONS[method](p, 7) == pytest.approx(expected)


def test_holm_by_hand():
    # Sorted .01, .03, .04 times 3, 2, 1 is .03, .06, .04; no value may fall below the one before it.
    assert holm(np.array([.04, .01, .03]), 3) == pytest.approx([.06, .03, .06])


def test_all_corrections_are_tested_here():
    assert set(FUNCTIONS) == set(CORRECTIONS)


def test_level_of_the_intervals():
    procedure = Procedure("t", "bonferroni", 4, .99, 1000, 0)
    assert procedure.alpha == .01
    assert procedure.interval_confidence == pytest.approx(.9975)
    assert Procedure("t", None, 4, .95, 1000, 0).interval_confidence == pytest.approx(.95)


@pytest.mark.parametrize(("arguments", "words"), [
    (("t", "bonferroni", 2, .99, 1000, 7), "two-sided paired Student's t-test, Bonferroni over 2 comparisons in each "
                                           "measure, 99 % confidence"),
    (("wilcoxon", "holm", 1, .95, 1000, 7), "two-sided Wilcoxon signed-rank test, Holm over 1 comparison in each "
                                            "measure, 95 % confidence"),
    (("fisher", None, 3, .99, 5000, 7), "two-sided Fisher randomisation test (at most 5,000 assignments, seed 7), "
                                        "uncorrected for 3 comparisons in each measure, 99 % confidence"),
])
def test_a_procedure_says_what_it_is(arguments, words):
    assert str(Procedure(*arguments)) == words
