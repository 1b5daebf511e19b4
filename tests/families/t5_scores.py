"""pyterrier_t5's scores, at batch size 1 (at larger ones they depend on the batch), and mT5's by plain transformers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch


def monot5_scores(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    """The scores of pyterrier_t5's MonoT5ReRanker, of ▁true against ▁false."""
    from pyterrier_t5 import MonoT5ReRanker

    return _pyterrier_t5(MonoT5ReRanker, folder, queries, texts)


def mt5_scores(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    """The scores of pyterrier_t5's mT5ReRanker, of ▁yes against ▁no, which a plain implementation must give too."""
    from pyterrier_t5 import mT5ReRanker

    found = _pyterrier_t5(mT5ReRanker, folder, queries, texts)
    np.testing.assert_allclose(found, _plain(folder, queries, texts, ("▁no", "▁yes")), atol=1e-5)
    return found


def _pyterrier_t5(kind: type, folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    frame = pd.DataFrame({"qid": "1", "query": queries, "docno": [f"d{i}" for i in range(len(texts))], "text": texts})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of its own defaults
        reranker = kind(tok_model=str(folder), model=str(folder), batch_size=1, verbose=False)
        return reranker.transform(frame)["score"].to_numpy()


def _plain(folder: Path, queries: list[str], texts: list[str], answers: tuple[str, str]) -> np.ndarray:
    """log P(second answer) against the first, after the prompt; a text that does not fit is cut, the prompt is not."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = tokenizer.convert_tokens_to_ids(list(answers))
    tail = tokenizer("Relevant:")["input_ids"]
    scores = []
    for query, text in zip(queries, texts, strict=True):
        ids = tokenizer(f"Query: {query} Document: {text}", add_special_tokens=False)["input_ids"][:512 - len(tail)]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids + tail]), decoder_input_ids=torch.tensor([[0]])).logits
        scores.append(logits[0, 0, rows].log_softmax(-1)[1].item())
    return np.array(scores)
