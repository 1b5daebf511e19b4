"""Query likelihood as RankingGPT and the paper's authors compute it: one pair at a time, all logits, no batch."""

from pathlib import Path

import numpy as np
import torch

PROMPT = "Document: {doc} Query:"


def query_likelihoods(folder: Path, queries: list[str], texts: list[str], truncation: str,
                      length: int = 512) -> np.ndarray:
    """Returns the mean log-probability of each query's tokens after its text, by the whole model in float32.

    Args:
        folder: Of the model.
        queries: n strings that have tokens.
        texts: n strings.
        truncation: "paper" (the authors' script) or "keep_prompt" (RankingGPT's own).
        length: What RankingGPT's has as 512.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def cut(text: str, count: int) -> str:
        ids = tokenizer.encode(text, add_special_tokens=False)[:count]
        # Both scripts use the slow tokenizer, whose decoder is sentencepiece's: bytes that are no character become one
        # mark each, where the fast tokenizer's marks every byte beside them too.
        return tokenizer.decode(ids) if set(ids) & set(tokenizer.all_special_ids) else pieces.decode(ids)

    scores = []
    for query, text in zip(queries, texts, strict=True):
        if truncation == "paper":
            query, room = cut(query, 128), 256
        else:
            room = length - len(tokenizer.encode(PROMPT)) - len(tokenizer.encode(query)) - 10
        source = PROMPT.format(doc=cut(text, room))
        ids, start = tokenizer(source + query)["input_ids"], len(tokenizer(source)["input_ids"])
        with torch.inference_mode():
            logits = model(torch.tensor([ids[:-1]])).logits[0]
        found = logits.float().log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        scores.append(float(found[start - 1:].mean()))
    return np.array(scores)
