"""Bad input is refused in words that name the thing and the remedy."""

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, Judged, P, nDCG

from pyterrier_taskarith.evaluation import compare, from_experiment
from pyterrier_taskarith.evaluation._evaluate import parse_measures

QRELS = pd.DataFrame({"qid": ["1", "1", "2"], "docno": ["a", "b", "a"], "label": [1, 0, 1]})
RUN = pd.DataFrame({"qid": ["1", "1", "2"], "docno": ["a", "b", "a"], "score": [2., 1., 1.]})
TOPICS = pd.DataFrame({"qid": ["1", "2"], "query": ["x", "y"]})


def comparing(run: pd.DataFrame = RUN, qrels: pd.DataFrame = QRELS, measures="map", **options):
    return compare({"BM25": RUN, "Θ'": run}, qrels, measures, **options)


def test_the_fixtures_themselves_compare():
    assert comparing().n_queries == 2


@pytest.mark.parametrize(("run", "message"), [
    (RUN.drop(columns="score"), r"run of system \"Θ'\" lacks column 'score': it has \['qid', 'docno'\]"),
    (RUN.drop(columns=["qid", "docno"]), r"lacks column 'qid', 'docno'"),
    (RUN[:0], r"run of system \"Θ'\" has no rows"),
    (pd.concat([RUN, RUN[1:2].assign(score=9.)]), r"1 repeated rows, the first for qid '1', docno 'b'"),
    (RUN.assign(score=[2., np.nan, 1.]), r"1 missing values .* column 'score' \(first in query '1'\)"),
    (RUN.assign(docno=["a", "b", None]), r"1 missing values .* column 'docno' \(first in query '2'\)"),
    (RUN.assign(qid=["1", None, "2"]), r"1 missing values .* column 'qid'"),
    (RUN.assign(score=["2", "high", "1"]), r"has 'high' in column 'score': a number is needed"),
    (RUN.assign(qid=["q1", "q1", "q2"]), r"run of system \"Θ'\" has none of the 2 judged queries: it is about 'q1', "
                                         r"'q2', the judgements about '1', '2'"),
])
def test_runs(run, message):
    with pytest.raises(ValueError, match=message):
        comparing(run)


@pytest.mark.parametrize(("qrels", "message"), [
    (QRELS.rename(columns={"label": "rel"}), r"qrels lacks column 'label': it has \['qid', 'docno', 'rel'\]"),
    (QRELS[:0], r"qrels has no rows"),
    (QRELS.assign(label=[1, .5, 1]), r"label 0.5: relevance labels are whole numbers"),
    (QRELS.assign(label=[1, None, 1]), r"1 missing values .* column 'label' \(first in query '1'\)"),
    (QRELS.assign(label=["1", "yes", "0"]), r"qrels has 'yes' in column 'label'"),
    (pd.concat([QRELS, QRELS[:1].assign(label=0)]), r"the first for qid '1', docno 'a': the labels differ"),
    (QRELS.assign(qid=["7", "7", "8"]), r"run of system 'BM25' has none of the 2 judged queries"),
])
def test_judgements(qrels, message):
    with pytest.raises(ValueError, match=message):
        comparing(qrels=qrels)


def test_judgements_that_are_merely_repeated_or_written_as_text_are_fine():
    repeated = pd.concat([QRELS, QRELS]).assign(label=lambda frame: frame["label"].astype(str))
    pd.testing.assert_frame_equal(comparing(qrels=repeated).means, comparing().means)


def test_judgements_of_subtopics_may_repeat_a_document():
    qrels = pd.concat([QRELS.assign(iteration="1"), QRELS.assign(iteration="2", label=[0, 1, 1])])
    assert comparing(qrels=qrels, measures=Judged @ 2).n_queries == 2


@pytest.mark.parametrize(("topics", "message"), [
    (TOPICS.rename(columns={"qid": "id"}), r"topics lacks column 'qid'"),
    (TOPICS[:0], r"topics has no rows"),
    (pd.concat([TOPICS, TOPICS[:1]]), r"topics has 1 repeated rows, the first for qid '1'"),
    (TOPICS.assign(qid=["1", None]), r"topics has 1 missing values"),
    (TOPICS.assign(qid=["x", "y"]), r"no query of topics \('x', 'y'\) has judgements .*, which is about '1', '2'"),
])
def test_topics(topics, message):
    with pytest.raises(ValueError, match=message):
        comparing(topics=topics)


def test_a_transformer_needs_topics():
    with pytest.raises(ValueError, match=r"system 'new' is a transformer, which needs queries to run: give topics="):
        compare({"BM25": RUN, "new": pt.Transformer.from_df(RUN)}, QRELS, "map")


def test_a_transformer_that_finds_nothing():
    nothing = pt.apply.generic(lambda queries: RUN[:0])
    with pytest.raises(ValueError, match=r"run of system 'new' has no rows: no document was retrieved"):
        compare({"BM25": RUN, "new": nothing}, QRELS, "map", topics=TOPICS)


@pytest.mark.parametrize(("systems", "error", "message"), [
    ([("a", RUN), ("b", RUN), ("a", RUN)], ValueError, r"two systems are called 'a'"),
    ({"a": RUN, " ": RUN}, ValueError, r"empty name"),
    ({"a": RUN, 1: RUN}, TypeError, r"system name 1 is a int"),
    ({"a": RUN, "b": "run.txt"}, TypeError, r"system 'b' is a str: give a run"),
    ([RUN, RUN], TypeError, r"list of \(name, system\) pairs, but it holds a DataFrame"),
    ({"a": RUN}, ValueError, r"nothing to compare: 1 system given \('a'\)"),
    ({}, ValueError, r"nothing to compare: 0 system"),
])
def test_systems(systems, error, message):
    with pytest.raises(error, match=message):
        compare(systems, QRELS, "map")


@pytest.mark.parametrize(("baselines", "message"), [
    (["BM52"], r"unknown baseline 'BM52': the systems are 'BM25', 'Θ_T', \"Θ'\""),
    (["BM25", "BM25"], r"baseline 'BM25' is named twice"),
    ([], r"baselines is empty"),
    (["BM25", "Θ_T", "Θ'"], r"every system is a baseline"),
    (None, r"which of the 3 systems are baselines\? Name them: baselines=\['BM25', …\]"),
])
def test_baselines(baselines, message):
    with pytest.raises(ValueError, match=message):
        compare({"BM25": RUN, "Θ_T": RUN, "Θ'": RUN}, QRELS, "map", baselines=baselines)


@pytest.mark.parametrize(("options", "message"), [
    ({"test": "anova"}, r"unknown test 'anova': choose one of 't', 'wilcoxon', 'fisher'"),
    ({"correction": "none"}, r"unknown correction 'none': choose one of 'bonferroni', 'holm' or None"),
    ({"n_comparisons": 0}, r"n_comparisons=0 is not a whole number of at least 1"),
    ({"n_comparisons": 1.5}, r"n_comparisons=1.5"),
    ({"confidence": 99}, r"confidence=99 is not between 0 and 1: 99 % is 0.99"),
    ({"confidence": 0}, r"confidence=0 "),
    ({"confidence": 1.}, r"confidence=1.0 "),
    ({"confidence": "0.99"}, r"confidence='0.99'"),
    ({"resamples": 0}, r"resamples=0"),
    ({"test": "fisher", "resamples": 99}, r"resamples=99 is too few .*Bonferroni over 1 comp.*: give at least 100"),
])
def test_procedures(options, message):
    with pytest.raises(ValueError, match=message):
        comparing(**options)


def test_holm_cannot_rank_more_systems_than_comparisons():
    with pytest.raises(ValueError, match=r"n_comparisons=1 is fewer than the 2 systems tested"):
        compare({"a": RUN, "b": RUN, "c": RUN}, QRELS, "map", baselines="a", correction="holm", n_comparisons=1)


@pytest.mark.parametrize(("measures", "error", "message"), [
    ("nope", ValueError, r"unknown measure 'nope': give an ir_measures object \(nDCG@10\)"),
    (["map", "nDCG@@10"], ValueError, r"unknown measure 'nDCG@@10'"),
    (["P_ten"], ValueError, r"unknown measure 'P_ten'"),
    (nDCG(cut=3), ValueError, r"measure nDCG with parameters {'cut': 3}: unsupported params found: \['cut'\]"),
    ("nDCG(cut=3)", ValueError, r"measure nDCG with parameters"),
    (P, ValueError, r"measure P with parameters {}: invalid param cutoff"),
    ("nDCG@0", ValueError, r"measure nDCG@0 has the cutoff 0: it must be 1 or more"),
    ("P_0", ValueError, r"measure P@0 has the cutoff 0"),
    (AP @ -1, ValueError, r"measure AP@-1 has the cutoff -1"),
    ("P_5x", ValueError, r"unknown measure 'P_5x'"),
    ("ndcg_cut_10@5", ValueError, r"unknown measure 'ndcg_cut_10@5'"),
    (nDCG(gains={1: 0.5}) @ 10, ValueError, r"nDCG with gains=\{1: 0.5\}: gains give a whole number for each label"),
    ("nDCG(gains={'1': 2})@10", ValueError, r"nDCG with gains=\{'1': 2\}: gains give a whole number"),
    (["map", AP], ValueError, r"measure AP is given twice, as 'map' and 'AP'"),
    ([], ValueError, r"no measures given"),
    ([10], TypeError, r"measure 10 is a int"),
])
def test_measures(measures, error, message):
    with pytest.raises(error, match=message):
        comparing(measures=measures)


def test_measures_keep_the_users_names():
    labels = parse_measures(["ndcg_cut_3", "map", "recip_rank", "nDCG@10", P @ 5, "AP(rel=2)@100"])
    assert list(labels.values()) == ["ndcg_cut_3", "map", "recip_rank", "nDCG@10", "P@5", "AP(rel=2)@100"]
    assert [str(measure) for measure in labels] == ["nDCG@3", "AP", "RR", "nDCG@10", "P@5", "AP(rel=2)@100"]
    assert list(parse_measures("success").values()) == ["Success@1", "Success@5", "Success@10"]


EXPERIMENT = pd.DataFrame({"name": list("aabb"), "qid": list("1212"), "measure": "map", "value": [.5, .25, .5, .25]})


@pytest.mark.parametrize(("frame", "error", "message"), [
    (EXPERIMENT.drop(columns="qid"), ValueError, r"frame lacks column 'qid': .* perquery=True"),
    ((EXPERIMENT, EXPERIMENT), TypeError, r"frame is a tuple: .*\.perquery"),
    (pd.concat([EXPERIMENT, EXPERIMENT[:1]]), ValueError, r"system 'a' has two values of map for query '1'"),
    (EXPERIMENT[:-1], ValueError, r"system 'b' has no value of map for 1 of 2 queries \('2'\)"),
    (EXPERIMENT.assign(value=[.5, .25, .5, np.nan]), ValueError, r"system 'b' has no value of map for 1 of 2 queries"),
    (EXPERIMENT.assign(value=np.nan), ValueError, r"none of its queries has judgements"),
    (EXPERIMENT[:2], ValueError, r"nothing to compare"),
])
def test_experiments(frame, error, message):
    with pytest.raises(error, match=message):
        from_experiment(frame, baselines="a")


def test_an_experiments_options_are_checked_alike():
    with pytest.raises(ValueError, match="unknown baseline 'c'"):
        from_experiment(EXPERIMENT, baselines="c")
    with pytest.raises(ValueError, match="n_comparisons=0"):
        from_experiment(EXPERIMENT, baselines="a", n_comparisons=0)
