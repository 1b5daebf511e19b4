"""Settings of α by layers, written by hand, for re-rankers of every family."""

import pandas as pd
import pytest

from pyterrier_taskarith import TaskArithReranker
from testing import bert_triple, cross_encoder_triple, llama_triple, t5_triple
from tests.tuning.small import small_qrels, small_run

#: Family -> how its triple is made, and the layers of the merged parameters that are in no layer and no embedding.
MAKERS = {
    "bert": lambda folder: bert_triple(folder, layers=4),
    "distilbert": lambda folder: bert_triple(folder, family="distilbert", layers=4),
    "cross-encoder": lambda folder: cross_encoder_triple(folder, layers=4),
    "t5": lambda folder: t5_triple(folder, layers=2),
    "llama": lambda folder: llama_triple(folder, layers=2),
}
#: Parameters of a fixture: the longest are among the slow tests.
FAMILIES = [pytest.param(name, marks=pytest.mark.slow) if name in ("t5", "cross-encoder") else name for name in MAKERS]
#: Family -> its groups, "layers", in the model's order.
LAYERS = {
    **dict.fromkeys(("bert", "distilbert", "cross-encoder"), ["embeddings", "0", "1", "2", "3"]),
    "t5": ["embeddings", "encoder.0", "encoder.1", "decoder.0", "decoder.1"],
    "llama": ["embeddings", "0", "1"],
}


def reranker_of(triple, alpha=1.0, **options):
    return TaskArithReranker(str(triple.ranker), str(triple.domain), str(triple.base), alpha=alpha, verbose=False,
                             **options)


def run_and_qrels(queries=6):
    """Returns a run and judgements whose measures tell small differences of scores."""
    run = small_run(3, queries=queries, documents=14, depth=12)
    graded = pd.concat([small_qrels((0, 4, 7), queries, 14).assign(label=2), small_qrels((2, 9, 11), queries, 14)])
    return run, graded.reset_index(drop=True)
