"""suggest_alpha: its criteria against other implementations, an α that is best by construction, what it warns of."""

import warnings

import ir_measures
import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import scipy.stats
from ir_measures import RR

from pyterrier_taskarith import Mix, TaskArithReranker
from pyterrier_taskarith.tuning import _suggest
from pyterrier_taskarith.tuning._criteria import best, overlaps, reciprocal_ranks, resampled, z_scores
from pyterrier_taskarith.tuning._nodes import NODES
from pyterrier_taskarith.tuning._suggest import SUGGESTED, Suggestion, SuggestionWarning, suggest_alpha
from testing import bert_triple, passages, questions

pytestmark = pytest.mark.filterwarnings("ignore::pyterrier_taskarith.tuning._suggest.SuggestionWarning")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    triple = bert_triple(tmp_path_factory.mktemp("triple"))
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, alpha=0.7, verbose=False)


def corpus(count=30):
    return pd.DataFrame({"docno": [f"d{number}" for number in range(count)],
                         "title": [f"about {words}" for words in questions(count, seed=7)],
                         "text": [f"{text} {more}" for text, more in zip(passages(count, seed=8, longest=3),
                                                                         passages(count, seed=9, longest=3),
                                                                         strict=True)]})


def real_queries(count=6):
    return pd.DataFrame({"qid": [f"q{number}" for number in range(count)], "query": questions(count, seed=5)})


def retrieve(queries, documents, *, targets=False):
    """Twelve documents in a fixed pseudo-random order for each query, the one named as it included, if asked for."""
    rows = []
    for number, (qid, query) in enumerate(queries[["qid", "query"]].itertuples(index=False)):
        order = np.random.default_rng(number).permutation(len(documents))[:12]
        place = documents["docno"].tolist().index(qid) if targets else order[0]
        if place not in order:
            order[-1] = place
        rows += [(qid, query, documents["docno"].iloc[place], documents["text"].iloc[place], 20.0 - rank)
                 for rank, place in enumerate(order)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"])


FIRST = pt.apply.generic(lambda queries: retrieve(queries, corpus()))


@pytest.fixture
def no_java(monkeypatch):
    """Candidates by chance, always with the target, and with whole queries; what was asked for is kept."""
    asked = []

    def candidates(pseudo, *, seed):
        asked.append(pseudo)
        run = retrieve(pseudo.queries, pseudo.texts, targets=True)
        return run.assign(target=run["qid"] == run["docno"])

    monkeypatch.setattr(_suggest, "candidate_run", candidates)
    return asked


class PeakedCurve:
    """Stands in for AlphaCurve: targets, and agreement with the first stage, are best at PEAK by construction."""

    PEAK, NOISE = 0.4, 0.25

    def __init__(self, reranker, run, *, nodes, verbose):
        qids = run["qid"].str.split(":")
        self.aim = (qids.str[0].ne("C") & qids.str[1].eq(run["docno"])).to_numpy(dtype=float)
        self.aim += qids.str[0].eq("C").to_numpy() * (12 - run.groupby("qid").cumcount().to_numpy()) / 12

    def scores(self, alpha):
        noise = np.random.default_rng(round(10 * alpha)).normal(size=len(self.aim))
        return 2 * (1 - (alpha - self.PEAK) ** 2) * self.aim + noise * (self.NOISE + (alpha - self.PEAK) ** 2)


# ---- criteria


def test_reciprocal_ranks_are_ir_measures_over_rows_in_any_order():
    random = np.random.default_rng(1)
    run = pd.DataFrame([(f"q{query}", f"d{document}", document == 2, random.random())
                        for query in range(20) for document in range(9)], columns=["qid", "docno", "target", "score"])
    run = run.sample(frac=1, random_state=2)
    qrels = pd.DataFrame({"query_id": run["qid"].unique(), "doc_id": "d2", "relevance": 1})
    ours = reciprocal_ranks(run["qid"].to_numpy(), run["target"].to_numpy(), run["score"].to_numpy())
    theirs = {found.query_id: found.value for found in ir_measures.iter_calc(
        [RR], qrels, run.rename(columns={"qid": "query_id", "docno": "doc_id"}))}
    assert dict(zip(run["qid"].unique(), ours, strict=True)) == pytest.approx(theirs)


def test_a_target_that_ties_takes_the_middle_of_the_places():
    qids, target = np.array(list("aaaab")), np.array([False, True, False, False, True])
    scores = np.array([5.0, 3.0, 3.0, 3.0, 1.0])
    assert reciprocal_ranks(qids, target, scores).tolist() == [1 / 3, 1.0]  # places 2, 3 and 4: the third


def test_overlaps_are_those_of_sets():
    random = np.random.default_rng(3)
    run = pd.DataFrame({"qid": np.repeat([f"q{n}" for n in range(12)], range(3, 39, 3))})
    run["first"], run["ours"] = random.random(len(run)), random.random(len(run))
    run = run.sample(frac=1, random_state=4).reset_index(drop=True)
    expected = [len(set(rows.nlargest(10, "first").index) & set(rows.nlargest(10, "ours").index)) / min(10, len(rows))
                for _, rows in run.groupby("qid", sort=False)]
    assert overlaps(run["qid"].to_numpy(), run["first"].to_numpy(), run["ours"].to_numpy()) == pytest.approx(expected)
    assert 0 < min(expected) < max(expected) == 1


def test_z_scores_are_scipys_and_a_flat_curve_gives_none():
    means = np.random.default_rng(5).random((4, 13))
    np.testing.assert_allclose(z_scores(means), scipy.stats.zscore(means, axis=1), atol=1e-12)
    assert z_scores(np.array([0.1 + 0.2, 0.3, 0.3])).tolist() == [0, 0, 0]


def test_of_equal_sums_the_smallest_alpha_is_best():
    alphas = np.array([-0.6, -0.1, 0.2, 0.9])
    assert best(alphas, np.array([1.0, 1.0, 1.0, 1.0])) == -0.1
    assert best(alphas, np.array([[0, 1, 2, 2], [3.0, 1, 2, 3]])).tolist() == [0.2, -0.6]


def test_the_bootstrap_is_that_of_a_loop_over_drawn_queries():
    random = np.random.default_rng(6)
    alphas = np.array([0, 0.5, 1.0])
    criteria = {"A": 5 * random.random((15, 3)), "C": random.random((40, 3))}
    loop = []
    for _ in range(2000):
        total = np.zeros(3)
        for values in criteria.values():
            drawn = values[random.integers(len(values), size=len(values))]
            total += scipy.stats.zscore(drawn.mean(axis=0))
        loop.append(alphas[total.argmax()])
    ours = resampled(alphas, criteria, 2000, seed=0)
    for alpha in alphas:
        assert (ours == alpha).mean() == pytest.approx(np.mean(np.array(loop) == alpha), abs=0.05)
    assert 0.1 < np.mean(ours == 0.5) < 0.9 or 0.1 < np.mean(ours == 1.0) < 0.9


# ---- the suggestion


@pytest.mark.parametrize("peak", [0.0, 0.4, 0.8, 1.2])
def test_an_alpha_that_is_best_by_construction_is_found(no_java, reranker, monkeypatch, peak):
    monkeypatch.setattr(PeakedCurve, "PEAK", peak)
    monkeypatch.setattr(_suggest, "AlphaCurve", PeakedCurve)
    found = suggest_alpha(reranker, corpus(), real_queries(30), first_stage=FIRST, verbose=False)
    assert abs(found.alpha - peak) <= 0.2
    assert found.spread.low - 0.1 <= peak <= found.spread.high + 0.1
    assert found.reranker.alpha == found.alpha and found.reranker.model is reranker.model
    assert reranker.alpha == 0.7


def test_the_curve_is_its_criteria_z_scored_and_added(no_java, reranker):
    found = suggest_alpha(reranker, corpus(), real_queries(), first_stage=FIRST, verbose=False)
    curve = found.curve
    assert list(curve.columns) == ["alpha", "A", "B", "C", "z_A", "z_B", "z_C", "sum", "share"]
    assert curve["alpha"].tolist() == list(SUGGESTED)
    expected = sum(scipy.stats.zscore(curve[name]) for name in "ABC")
    np.testing.assert_allclose(curve["sum"], expected, atol=1e-9)
    assert found.alpha == curve["alpha"][np.argmax(expected)]
    assert curve["share"].sum() == pytest.approx(1)
    mean = (curve["alpha"] * curve["share"]).sum()
    assert found.spread.deviation == pytest.approx(np.sqrt((curve["share"] * (curve["alpha"] - mean) ** 2).sum()))


def test_at_a_node_the_criteria_are_those_of_plain_re_ranking(no_java, reranker):
    found = suggest_alpha(reranker, corpus(), real_queries(), first_stage=FIRST, verbose=False)
    at = found.curve.set_index("alpha").loc[0.6]
    exact = reranker.copy(alpha=0.6)
    for name, pseudo in zip("AB", no_java[:2], strict=True):
        run = exact.transform(_suggest.candidate_run(pseudo, seed=0))
        qrels = pseudo.queries.assign(docno=pseudo.queries["qid"], label=1)[["qid", "docno", "label"]]
        mean = ir_measures.calc_aggregate([RR], pt.model.to_ir_measures(qrels), pt.model.to_ir_measures(run))[RR]
        assert at[name] == pytest.approx(mean, abs=1e-6)
        assert found.queries[name] == len(pseudo.queries)
    first = FIRST(real_queries())
    again = exact.transform(first)
    shares = [len(set(first[first.qid == qid].nlargest(10, "score").docno)
                  & set(again[again.qid == qid].nlargest(10, "score").docno)) / 10 for qid in real_queries()["qid"]]
    assert at["C"] == pytest.approx(np.mean(shares))


def test_the_run_is_scored_once_a_node(no_java, tmp_path):
    triple = bert_triple(tmp_path, seed=11)
    reranker = TaskArithReranker(triple.ranker, triple.domain, triple.base, verbose=False)
    suggest_alpha(reranker, corpus(), real_queries(), first_stage=FIRST, verbose=False)
    first_texts = FIRST(real_queries())["text"].tolist()
    runs = [_suggest.candidate_run(pseudo, seed=0) for pseudo in no_java[:2]]
    texts = {*first_texts, *(text for run in runs for text in run["text"])}
    queries = {*real_queries()["query"], *(query for run in runs for query in run["query"])}
    assert reranker.model.scorer.texts_embedded == len(NODES) * (len(texts) + len(queries))


def test_the_seed_decides_everything(no_java, reranker):
    found = [suggest_alpha(reranker, corpus(), real_queries(), first_stage=FIRST, documents=12, seed=seed,
                           verbose=False) for seed in (4, 4, 5)]
    pd.testing.assert_frame_equal(found[0].curve, found[1].curve)
    assert found[0].spread == found[1].spread and found[0].queries == {"A": 12, "B": 12, "C": 6}
    assert not found[0].curve["A"].equals(found[2].curve["A"])


def test_dicts_and_another_text_column_give_the_same(no_java, reranker):
    renamed = TaskArithReranker(reranker.ranker, reranker.domain, reranker.base, text_field="body", verbose=False)
    ours = suggest_alpha(reranker, corpus(), real_queries(), first_stage=FIRST, verbose=False)
    theirs = suggest_alpha(renamed, iter(corpus().to_dict("records")), real_queries(), verbose=False,
                           first_stage=FIRST >> pt.apply.generic(lambda run: run.rename(columns={"text": "body"})))
    pd.testing.assert_frame_equal(ours.curve, theirs.curve)
    assert theirs.reranker.text_field == "body"


def test_the_re_ranker_sees_queries_as_they_were_asked_and_the_top_100(reranker, monkeypatch):
    queries = real_queries(2).assign(query=["what's 5/6?", "IL-6: role"])

    def stripped(asked):
        documents = pd.DataFrame({"docno": [f"d{n}" for n in range(130)], "text": passages(130, seed=2)})
        rows = [(qid, "stripped", query, docno, text, -float(place))
                for qid, query in asked[["qid", "query"]].itertuples(index=False)
                for place, (docno, text) in enumerate(documents.itertuples(index=False))]
        return pd.DataFrame(rows, columns=["qid", "query", "query_0", "docno", "text", "score"]).sample(frac=1)

    seen = []
    scored = _suggest.AlphaCurve
    monkeypatch.setattr(_suggest, "AlphaCurve", lambda reranker, run, **how: (seen.append(run),
                                                                              scored(reranker, run, **how))[1])
    suggest_alpha(reranker, None, queries, first_stage=pt.apply.generic(stripped), verbose=False)
    assert set(seen[0]["query"]) == set(queries["query"])
    assert seen[0].groupby("qid")["docno"].agg(set).tolist() == [{f"d{n}" for n in range(100)}] * 2


# ---- warnings


def suggested(reranker, *args, **options) -> tuple[Suggestion, list[str]]:
    """Returns a suggestion, and the warnings of ours that were issued."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = suggest_alpha(reranker, *args, verbose=False, **options)
    ours = [warning for warning in caught if issubclass(warning.category, SuggestionWarning)]
    assert all(warning.filename == __file__ for warning in ours)
    texts = [str(warning.message) for warning in ours]
    assert tuple(texts) == found.warnings
    assert all(text in str(found) for text in texts)
    return found, texts


def test_with_many_documents_and_queries_only_fusion_is_warned_of(no_java, reranker, monkeypatch):
    monkeypatch.setattr(_suggest, "AlphaCurve", PeakedCurve)
    found, texts = suggested(reranker, corpus(250), real_queries(40), first_stage=FIRST)
    assert len(texts) == 1 and "fusion" in texts[0] and ".5/.5" in texts[0]
    assert found.queries == {"A": 250, "B": 250, "C": 40}


def test_few_documents_and_no_queries_are_warned_of(no_java, reranker):
    found, texts = suggested(reranker, corpus())
    assert list(found.queries) == ["A", "B"] and "C" not in found.curve
    assert any("few documents: A has 30 pseudo-queries, from 30 of 30" in text for text in texts)
    assert any("without real queries, A and B decide alone" in text for text in texts)


def test_no_corpus_leaves_the_overlap_alone(reranker):
    found, texts = suggested(reranker, None, real_queries(), first_stage=FIRST)
    assert found.queries == {"C": 6}
    assert any("without a corpus" in text and "weaker" in text for text in texts)


def test_a_domain_model_that_saw_the_corpus_leaves_sentences_out(no_java, reranker):
    found, texts = suggested(reranker, corpus(), real_queries(), first_stage=FIRST, trained_on_corpus=True)
    assert list(found.queries) == ["A", "C"] and "z_B" not in found.curve
    assert any("trained on this corpus" in text for text in texts)
    _, texts = suggested(reranker, corpus(), trained_on_corpus=True)
    assert any("without real queries, A decides alone" in text for text in texts)


def test_a_large_spread_is_warned_of(no_java, reranker, monkeypatch):
    monkeypatch.setattr(_suggest, "AlphaCurve", PeakedCurve)
    monkeypatch.setattr(PeakedCurve, "NOISE", 30.0)
    found, texts = suggested(reranker, corpus(250), real_queries(40), first_stage=FIRST)
    assert found.spread.high - found.spread.low > 0.6
    assert any(f"large spread: over resampled queries α goes from {found.spread.low:g}" in text for text in texts)


def test_a_vector_that_changes_no_ranking_gives_alpha_0_and_says_so(no_java, reranker, monkeypatch):
    monkeypatch.setattr(_suggest, "AlphaCurve", PeakedCurve)
    monkeypatch.setattr(PeakedCurve, "scores", lambda self, alpha: self.aim + np.arange(len(self.aim)) % 7 + alpha)
    found, texts = suggested(reranker, corpus(), real_queries(), first_stage=FIRST)
    assert found.alpha == 0 and found.spread.deviation == 0
    assert any("the curve is flat" in text for text in texts)
    assert "at the edge of the grid" in str(found)


def test_a_criterion_without_pseudo_queries_is_left_out_and_named(no_java, reranker):
    short = corpus().assign(text="Few words here. Few more words.")
    found, texts = suggested(reranker, short)
    assert list(found.queries) == ["A"]
    assert any("no document of 30 gave a pseudo-query for B" in text for text in texts)


def test_it_prints_what_it_chose_from_what_and_its_spread(no_java, reranker):
    found, texts = suggested(reranker, corpus(), real_queries(), first_stage=FIRST, resamples=50)
    lines = str(found).splitlines()
    assert lines[0].startswith(f"suggested α = {found.alpha:g}")
    assert "experimental" in lines[0] and "A: 30 pseudo-queries, B: 30 pseudo-queries, C: 6 queries" in lines[0]
    assert lines[1].startswith("spread: standard deviation ") and "50 bootstrap resamples" in lines[1]
    assert lines[2:] == [f"- {text}" for text in texts]


# ---- bad input


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"alphas": [0.5]}, ValueError, "nothing to choose"),
    ({"alphas": []}, ValueError, "two at least"),
    ({"alphas": 0.5}, TypeError, "list of numbers"),
    ({"alphas": [0, 0.5, 0.5]}, ValueError, "distinct"),
    ({"alphas": [0, float("nan")]}, ValueError, "finite"),
    ({"alphas": [0, 1.5]}, ValueError, "nodes from 0 to 1.2"),
    ({"alphas": [-0.1, 1]}, ValueError, "nodes that enclose"),
    ({"documents": 0}, ValueError, "documents=0"),
    ({"documents": 2.5}, ValueError, "documents=2.5"),
    ({"resamples": 1}, ValueError, "resamples=1"),
    ({"seed": -1}, ValueError, "seed=-1"),
    ({"corpus": None, "queries": None}, ValueError, "neither a corpus nor queries"),
    ({"corpus": None, "first_stage": None}, ValueError, "without a corpus, give first_stage"),
    ({"corpus": corpus().head(0)}, ValueError, "empty"),
    ({"corpus": corpus().drop(columns="text")}, ValueError, r"lacks \['text'\]"),
    ({"corpus": corpus().assign(title="", text="Short.")}, ValueError, "none of the 30 documents .* too short"),
    ({"queries": real_queries().drop(columns="query")}, ValueError, "qid and query"),
    ({"queries": real_queries().head(0)}, ValueError, "queries has no rows"),
    ({"queries": pd.concat([real_queries(), real_queries(1)])}, ValueError,
     "queries has 1 repeated rows, the first for qid 'q0'"),
    ({"first_stage": pt.apply.generic(lambda run: pd.concat([retrieve(run, corpus())] * 2))}, ValueError,
     "first_stage's result has 72 repeated rows, the first for qid 'q0', docno '"),
    ({"first_stage": pt.apply.generic(lambda run: retrieve(run, corpus()).assign(score=1.0))}, ValueError,
     "all documents of a query the same score.* leave queries out, or give a first stage that ranks"),
    ({"first_stage": pt.apply.generic(lambda run: retrieve(run, corpus()).assign(score=np.nan))}, ValueError,
     r"first_stage's result has 72 missing values .* column 'score'"),
    ({"corpus": corpus().assign(docno="d")}, ValueError, "the docno 'd' occurs more than once in the corpus"),
    ({"first_stage": pt.apply.generic(lambda run: retrieve(run, corpus()).drop(columns="text"))}, ValueError,
     r"lack \['text'\], and have \['qid', 'query', 'docno', 'score'\]; end it with pt.text.get_text"),
    ({"first_stage": pt.apply.generic(lambda run: retrieve(run, corpus()).head(0))}, ValueError, "found nothing"),
])
def test_bad_input_is_refused_in_words(no_java, reranker, options, error, words):
    given = {"corpus": corpus(), "queries": real_queries(), "first_stage": FIRST, **options}
    with pytest.raises(error, match=words):
        suggest_alpha(reranker, verbose=False, **given)


def test_of_equal_first_stage_scores_in_some_queries_the_earlier_rows_count(no_java, reranker):
    """Query q0's scores are equal, as if they fell row by row."""
    def flat(queries):
        run = retrieve(queries, corpus())
        return run.assign(score=run["score"].where(run["qid"] != "q0", 20.0))

    options = {"alphas": [0.0, 0.5], "verbose": False}
    found = suggest_alpha(reranker, None, real_queries(), first_stage=pt.apply.generic(flat), **options)
    falling = suggest_alpha(reranker, None, real_queries(), first_stage=FIRST, **options)
    pd.testing.assert_frame_equal(found.curve, falling.curve)


def test_a_mix_is_refused(reranker):
    with pytest.raises(TypeError, match="not a Mix"):
        suggest_alpha(Mix(reranker), corpus())


# ---- with Terrier


@pytest.mark.java
def test_bm25_is_made_from_the_corpus_where_no_first_stage_is_given(reranker):
    found = suggest_alpha(reranker, corpus(60), real_queries(), verbose=False)
    again = suggest_alpha(reranker, corpus(60), real_queries(), verbose=False)
    assert found.queries["C"] == 6 and 20 < found.queries["A"] <= 60 and 20 < found.queries["B"] <= 60
    pd.testing.assert_frame_equal(found.curve, again.curve)
    assert found.curve[["A", "B", "C"]].std().gt(0).all()
