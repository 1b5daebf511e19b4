"""The conclusion in one sentence."""

import numpy as np
import pandas as pd
from scipy import stats

from pyterrier_taskarith.evaluation import compare, from_experiment


def frame(values: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    return pd.DataFrame([(name, str(query), measure, value) for name, columns in values.items()
                         for measure, column in columns.items() for query, value in enumerate(column)],
                        columns=["name", "qid", "measure", "value"])


def test_every_verdict_is_told_with_its_evidence():
    base = {measure: [.1, .2, .3, .4, .5, .6] for measure in ("up", "down", "same", "noise")}
    noise = [.3, .1, .2, .5, .7, .4]
    new = {"up": [.31, .4, .5, .61, .7, .8], "down": [.01, .1, .2, .31, .4, .5], "same": base["same"], "noise": noise}
    sentence = from_experiment(frame({"BM25": base, "Θ'": new}), baselines=["BM25"]).in_words()
    test = stats.ttest_rel(noise, base["noise"])
    interval = test.confidence_interval(.99)
    assert sentence.startswith(
        "By a two-sided paired Student's t-test, Bonferroni over 1 comparison in each measure, 99 % confidence, on 6 "
        "queries (in parentheses: mean difference, corrected p, 99 % confidence interval), Θ' is significantly better "
        "in up (than BM25: +.203, p < .0001, [+.")
    assert "and significantly worse in down (than BM25: -.097, p < .0001, [-." in sentence
    assert (f"and not significantly different in noise (from BM25: +.017, p = {test.pvalue:.4f}, [{interval.low:+.3f}, "
            f"{interval.high:+.3f}])").replace("= 0.", "= .").replace("-0.", "-.").replace("+0.", "+.") in sentence
    assert sentence.endswith("and identical for every query in same (to BM25).")
    assert "\n" not in sentence


def test_each_system_has_its_clause_and_each_measure_its_best_baseline():
    random = np.random.default_rng(0)
    one = {"a": [.5] * 8, "b": [.2] * 8}
    other = {"a": [.4] * 8, "b": [.3] * 8}
    new = {measure: list(.35 + random.normal(0, .3, 8)) for measure in "ab"}
    sentence = from_experiment(frame({"one": one, "other": other, "x": new, "y": new}), baselines=["one", "other"],
                               correction=None).in_words()
    assert "; y is not significantly different in a (from one: " in sentence
    assert " and b (from other: " in sentence
    assert "uncorrected for 2 comparisons" in sentence and "mean difference, p, 99 % confidence" in sentence


def test_a_single_query_is_called_untested(hits):
    qrels, one = hits([0])
    _, other = hits([1])
    sentence = compare({"BM25": one, "Θ'": other}, qrels, "P_1").in_words()
    assert sentence.endswith("Θ' is untested for want of queries in P_1 (against BM25: +1.000).")
