"""A triple, runs and judgements small enough to be swept by brute force."""

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith import Mix
from testing import passages, questions


def small_run(seed, queries=5, documents=12, depth=8):
    texts, asked = passages(documents, seed=seed, longest=40), questions(queries, seed=seed + 1)
    rows = [(str(q), query, f"d{(q + place) % documents}", texts[(q + place) % documents], 10.0 - place * (1 + q / 10))
            for q, query in enumerate(asked) for place in range(depth)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"])


def small_qrels(places=(2, 5), queries=5, documents=12):
    return pd.DataFrame([(str(q), f"d{(q + place) % documents}", 1) for q in range(queries) for place in places],
                        columns=["qid", "docno", "label"])


def brute(reranker, run, qrels, measure, alpha, weight):
    """Returns the mean by PyTerrier's own evaluation of the pipeline's output."""
    ranked = Mix(reranker.copy(alpha=alpha), weight=weight)(run)
    return pt.Evaluate(ranked, qrels, metrics=[measure])[str(measure)]
