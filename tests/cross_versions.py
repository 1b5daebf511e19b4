"""Folders written under one version of transformers load, and score the same, under another.

``python -m tests.cross_versions write DIR`` in one environment, ``… read DIR`` in the other; CI does so.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from pyterrier_t5 import MonoT5ReRanker
from sentence_transformers import SentenceTransformer

from pyterrier_taskarith import TaskArithReranker
from testing import bert_triple, passages, questions, t5_triple


def frame():
    """Returns the pairs that both sides score."""
    texts, queries = passages(12, seed=2, longest=60), questions(3, seed=2)
    return pd.DataFrame([(str(n % 3), f"d{n}", queries[n % 3], text) for n, text in enumerate(texts)],
                        columns=["qid", "docno", "query", "text"])


def write(folder):
    """Saves a merged bi-encoder and a merged T5, and their live scores."""
    scores = {"version": transformers.__version__}
    for kind, make in (("bi-encoder", bert_triple), ("t5", t5_triple)):
        triple = make(folder / kind)
        reranker = TaskArithReranker(triple.ranker, triple.domain, triple.base, alpha=0.6, verbose=False)
        reranker.save(folder / kind / "merged", dtype="float32")
        scores[kind] = reranker(frame())["score"].tolist()
    (folder / "scores.json").write_text(json.dumps(scores))


def read(folder):
    """Loads both with the reference libraries and compares the scores."""
    scores, rows = json.loads((folder / "scores.json").read_text()), frame()
    model = SentenceTransformer(str(folder / "bi-encoder" / "merged"), model_kwargs={"torch_dtype": torch.float32})
    queries, texts = (model.encode(rows[column].tolist(), convert_to_tensor=True) for column in ("query", "text"))
    path = str(folder / "t5" / "merged")
    found = {"bi-encoder": torch.cosine_similarity(queries, texts).tolist(),
             "t5": MonoT5ReRanker(tok_model=path, model=path, batch_size=1, verbose=False)(rows)["score"].tolist()}
    for kind, values in found.items():
        difference = float(np.abs(np.array(values) - scores[kind]).max())
        print(f"{kind}: written under transformers {scores['version']}, read under {transformers.__version__}: "
              f"scores differ by {difference:.1e} at most")
        if difference > 1e-5:
            sys.exit(1)


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
