"""The study of α without labels runs, and its criteria are what they say."""

import numpy as np
import pandas as pd
import pytest

from experiments.suggestion import SUGGESTED, mask, overlap, reciprocal_rank, suggest_alpha, without
from pyterrier_taskarith import TaskArithReranker
from testing import bert_triple

WORDS = "river stone garden copper winter lantern harbour meadow thunder violin orchard glacier".split()


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.long
def test_the_recipe_and_its_parts_suggest_an_alpha(tmp_path):
    random = np.random.default_rng(0)
    texts = ["The {} {} {}. A {} {} {} {} {} {} {} is there. All is well.".format(*random.choice(WORDS[:8], 10))
             for _ in range(24)]
    corpus = pd.DataFrame({"docno": [f"d{place}" for place in range(24)], "text": texts})
    run = pd.DataFrame([(f"q{q}", f"{WORDS[q]} {WORDS[q + 1]}", f"d{q + place}", texts[q + place], 12.0 - place)
                        for q in range(4) for place in range(12)], columns=["qid", "query", "docno", "text", "score"])
    triple = bert_triple(tmp_path)
    reranker = TaskArithReranker(triple.ranker, triple.domain, triple.base, verbose=False)
    whole = suggest_alpha(reranker, corpus, run, documents=6)
    assert list(whole.queries) == ["A", "B", "C"] and whole.queries["C"] == 4
    assert suggest_alpha(reranker, corpus, run, documents=6, trained_on_corpus=True).queries.keys() == {"A", "C"}
    only = suggest_alpha(reranker, None, run)
    assert only.curve["C"].tolist() == pytest.approx(whole.curve["C"].tolist(), abs=1e-6)
    for found in (whole, only):
        curve = found.curve.set_index("alpha")
        z = [(curve[name] - curve[name].mean()) / curve[name].std(ddof=0) for name in found.queries]
        assert curve["sum"].to_numpy() == pytest.approx(sum(z).fillna(0).to_numpy())
        assert found.alpha == curve["sum"].idxmax() and curve["share"].sum() == pytest.approx(1)
        assert set(SUGGESTED) == set(curve.index) and found.low <= found.high


def test_criteria_by_hand():
    rows = pd.DataFrame({"target": [False, True, False, False], "neural": [3.0, 2.0, 2.0, 1.0]})
    assert reciprocal_rank(rows) == 1 / 2.5  # behind one, beside one
    rows = pd.DataFrame({"score": range(20, 0, -1), "neural": [0.0] * 5 + [1.0] * 15})
    assert overlap(rows) == 0.5
    assert without("A b. Three words here. The end.", "three  WORDS here") == "A b. The end."
    words, random = "one two three four five six seven", np.random.default_rng(0)
    masked = mask(words, "six five four three two", lambda text: set(text.split()), random).split()
    assert {"one", "seven"} <= set(masked) < set(words.split()) and masked == sorted(masked, key=words.split().index)
