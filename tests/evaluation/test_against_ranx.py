"""p values against ranx's tests, those that ranx.compare calls, on the same values per query."""

import math

import pytest

from pyterrier_taskarith.evaluation import compare

MEASURES = ["ndcg_cut_10", "map"]  # ranx's Fisher test loses sums that tie, as in P_5, to rounding
RANX_DRAWS = 20_000


@pytest.fixture(scope="module")
def ranx_tests():
    return pytest.importorskip("ranx.statistical_tests").compute_statistical_significance


def of_ranx(function, comparison, name: str) -> dict:
    """Every pair of systems by ranx: frozenset of two names → measure → p_value, significant at .01."""
    values = comparison.per_query.pivot(index="qid", columns=["system", "measure"], values="value")
    scores = {system: {measure: values[system, measure].to_numpy() for measure in MEASURES}
              for system in comparison.means.index}
    return function(list(scores), scores, stat_test=name, n_permutations=RANX_DRAWS, max_p=.01)


def test_student_t_test_is_ranxs(runs, qrels, baselines, ranx_tests):
    comparison = compare(runs, qrels, MEASURES, baselines=baselines, correction=None)
    theirs = of_ranx(ranx_tests, comparison, "student")
    for row in comparison.tests.itertuples():
        expected = theirs[frozenset([row.system, row.baseline])][row.measure]
        assert row.p == pytest.approx(expected["p_value"], rel=1e-9)
        assert row.significant == expected["significant"]
    assert set(comparison.tests["significant"]) == {True, False}


@pytest.mark.slow
def test_fisher_randomisation_is_ranxs_within_the_error_of_the_draws(runs, qrels, baselines, ranx_tests):
    comparison = compare(runs, qrels, MEASURES, baselines=baselines, correction=None, test="fisher")
    theirs = of_ranx(ranx_tests, comparison, "fisher")
    for row in comparison.tests.itertuples():
        expected = theirs[frozenset([row.system, row.baseline])][row.measure]
        error = 4 * math.sqrt(max(row.p * (1 - row.p), 1e-4) * (1 / RANX_DRAWS + 1 / 100_000))
        assert row.p == pytest.approx(expected["p_value"], abs=error)
        assert row.significant == expected["significant"]
    assert set(comparison.tests["significant"]) == {True, False}
