"""Scores of fixed tiny models are as they were: what is kept on disk may then be given back.

To write the values anew after a change that is meant: ``python -m tests.scorers.test_golden``.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pyterrier_taskarith.scorers._recipes import POOLINGS, SIMILARITIES
from testing import bert_triple, cross_encoder_triple, llama_triple, passages, questions, t5_triple
from tests.scorers.reference import edit_json, scorer_of

VALUES = Path(__file__).with_name("golden.json")


def cases(folder: Path) -> Iterator[tuple[str, Path, dict[str, object]]]:
    """Yields a name, a folder and options for every kind of score."""
    bert = bert_triple(folder / "bert").ranker
    for pooling in POOLINGS:
        edit_json(bert / "1_Pooling" / "config.json", pooling_mode=pooling)
        yield f"bi-encoder, {pooling}", bert, {}
    for similarity in SIMILARITIES:
        edit_json(bert / "config_sentence_transformers.json", similarity_fn_name=similarity)
        yield f"bi-encoder, {similarity}", bert, {}
    for family in ("bert", "distilbert", "roberta"):
        yield f"cross-encoder, {family}", cross_encoder_triple(folder / f"cross-{family}", family=family).ranker, {}
    for kind in ("t5", "mt5"):
        triple = t5_triple(folder / kind, kind=kind)
        for truncation in ("keep_prompt", "paper"):
            yield f"seq2seq, {kind}, {truncation}", triple.ranker, {"truncation": truncation, "max_length": None if
                                                                    truncation == "paper" else 40}
    llama = llama_triple(folder / "llama").ranker
    for truncation in ("keep_prompt", "paper"):
        yield f"causal, {truncation}", llama, {"truncation": truncation}


def scores(folder: Path) -> dict[str, list[float]]:
    texts = passages(6, seed=2, longest=60)
    queries = [query for query in questions(3, seed=2) for _ in range(2)]
    return {name: [round(float(score), 7) for score in scorer_of(model, **options).score(queries, texts, "w")]
            for name, model, options in cases(folder)}


@pytest.mark.filterwarnings("ignore:.*prediction tokens")
def test_scores_are_as_they_were(tmp_path):
    expected, found = json.loads(VALUES.read_text()), scores(tmp_path)
    assert list(found) == list(expected)
    changed = [name for name in found if not np.allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)]
    assert not changed, (f"scores of {changed} have changed. If that is meant, raise SCORING in scorers/_loaded.py, so "
                         "that no cache gives an old score back, and write the values anew: python -m "
                         "tests.scorers.test_golden")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        VALUES.write_text(json.dumps(scores(Path(made)), indent=1) + "\n")
