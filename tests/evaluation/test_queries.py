"""The table of queries: values, differences, order, texts."""

import numpy as np
import pandas as pd
import pytest

from pyterrier_taskarith.evaluation import compare, from_experiment

VALUES = {"BM25": {"m": [.5, .5, .5, .5, .5], "n": [.9] * 5},
          "Θ_T": {"m": [.4, .6, .6, .5, .3], "n": [.8, .9, .9, .9, 1.]},
          "one": {"m": [.4, .6, .6, .5, .3], "n": [.7] * 5},
          "Θ'": {"m": [.9, .5, .1, .5, .6], "n": [.6] * 5}}
QIDS = ["a", "b", "c", "d", "e"]
TOPICS = pd.DataFrame({"qid": ["e", "d", "c", "a", "x"], "query": ["fifth", "fourth", "third", "first", "none"]})


def made(**options):
    frame = pd.DataFrame([(name, qid, measure, value) for name, columns in VALUES.items()
                          for measure, column in columns.items() for qid, value in zip(QIDS, column, strict=True)],
                         columns=["name", "qid", "measure", "value"])
    return from_experiment(frame.sample(frac=1, random_state=1), baselines=["BM25", "Θ_T"], **options)


@pytest.mark.parametrize(("first", "order"), [("best", "aebdc"), ("worst", "cbdea"), ("changed", "acebd")])
def test_queries_in_order_of_the_difference_ties_by_id(first, order):
    # Θ' − BM25 in m: +.4, 0, −.4, 0, +.1.
    table = made().queries("Θ'", "m", first=first)
    assert "".join(table.index) == order
    assert table.index.name == "qid" and set(table.columns) == {"BM25", "Θ_T", "one", "Θ'", "difference"}
    np.testing.assert_allclose(table.loc[QIDS, "difference"], [.4, 0, -.4, 0, .1], atol=1e-12)
    for name, columns in VALUES.items():
        assert table.loc[QIDS, name].tolist() == columns["m"]


def test_unnamed_is_the_best_tested_system_against_the_best_baseline_of_the_first_measure():
    comparison = made()
    measure = comparison.means.columns[0]
    named = {"m": ("Θ'", "BM25"), "n": ("one", "BM25")}
    for label, (system, baseline) in named.items():
        pd.testing.assert_frame_equal(comparison.queries(measure=label),
                                      comparison.queries(system, label, baseline=baseline))
    pd.testing.assert_frame_equal(comparison.queries(), comparison.queries(measure=measure))


def test_any_two_systems_may_be_held_against_each_other():
    table = made().queries("Θ_T", "m", baseline="Θ'")
    np.testing.assert_allclose(table.loc[QIDS, "difference"], [-.5, .1, .5, 0, -.3], atol=1e-12)


def test_texts_are_those_of_the_topics():
    assert "query" not in made().queries()
    table = made(topics=TOPICS).queries("Θ'", "m")
    assert table.columns[0] == "query"
    assert table["query"].tolist()[:2] == ["first", "fifth"] and pd.isna(table.loc["b", "query"])
    pd.testing.assert_frame_equal(table.drop(columns="query"), made().queries("Θ'", "m"))
    assert "query" not in made(topics=TOPICS.drop(columns="query")).queries()


def test_compare_passes_the_texts_on_whatever_type_the_ids_have(runs, qrels):
    two = {name: runs[name].assign(qid=runs[name]["qid"].str[1:].astype(int)) for name in ("BM25", "Θ_T")}
    judged = qrels.assign(qid=qrels["qid"].str[1:].astype(int))
    topics = pd.DataFrame({"qid": range(60), "query": [f"text {number}" for number in range(60)]})
    table = compare(two, judged, "map", topics=topics).queries()
    assert table["query"].tolist() == [f"text {qid}" for qid in table.index]
    assert table["difference"].is_monotonic_decreasing
    assert (table["Θ_T"] - table["BM25"]).equals(table["difference"])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"system": "Θ_X"}, r"no system 'Θ_X'; it has \['BM25', 'Θ_T', "),
    ({"baseline": "Θ_X"}, r"no system 'Θ_X'"),
    ({"measure": "map"}, r"no measure 'map'; it has "),
    ({"system": "BM25", "measure": "m"}, r"'BM25' would be compared with itself in m: name another"),
    ({"first": "last"}, r"first='last': choose one of 'best', 'worst', 'changed'"),
])
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        made().queries(**arguments)


def test_a_system_called_as_a_column_of_the_table_is_refused(hits):
    qrels, one = hits([1, 0])
    with pytest.raises(ValueError, match="a system is called 'difference'"):
        compare({"BM25": one, "difference": one}, qrels, "P_1").queries()


def test_the_comparison_itself_can_be_kept_in_a_set(hits):
    qrels, one = hits([1, 0])
    comparison = compare({"BM25": one, "Θ'": one}, qrels, "P_1")
    assert comparison in {comparison} and comparison == comparison
