"""The same scores by other libraries, and texts that tell implementations apart."""

import json
from pathlib import Path

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers import ScorerOptions, make_scorer
from testing import passages, questions

CPU = torch.device("cpu")

ODD_TEXTS = [
    "", " ", "  two  spaces ", "\n\nlines\tand\r\ntabs\n", "\u00a0no-break\u3000wide", "\u200bzero\u200dwidth",
    "e\u0301 combines", "\u0301starts with an accent", "ﬁ ligature ½", "日本語のテキスト", "👩‍👩‍👧‍👦 🇩🇪",
    "\u2581under\u2581score", "control\x00\x01", "Größe der Körper ÀÉ ΣΑΣ İ", "Relevant: true",
    "Query: a Document: b Relevant:", "x" * 400]
SPECIAL_TEXTS = ["[SEP] [CLS] [MASK]", "</s>", "</s> more", "more </s>", "<pad> <unk>", "<extra_id_0>",
                 "cell <extra_id_99> growth", "<s> <mask>"]


def pairs(texts: list[str]) -> tuple[list[str], list[str]]:
    """Returns every text with two queries, and some odd queries, as two lists of the same length."""
    asked = questions(2, seed=3)
    queries = [query for query in asked for _ in texts]
    odd = ["", "what?!", "  cell   growth ", "[SEP]", "very " * 80 + "long", "é\u0301"]
    return queries + odd, texts * len(asked) + passages(len(odd), seed=4)


def plain_texts() -> list[str]:
    """Returns texts from one word to several times what a small model reads."""
    return [*passages(8, seed=1), "cell", " ".join(passages(30, seed=2))]


def scorer_of(folder: Path, name: str = "auto", **options: object):
    """Returns the scorer of a folder on the CPU, in float32 unless said."""
    return make_scorer(Checkpoint(folder), name, ScorerOptions(**{"dtype": torch.float32, "device": CPU, **options}))


def edit_json(path: Path, **changed: object) -> None:
    """Sets keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def sentence_transformers_scores(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    """Returns what sentence-transformers gives for each pair, its model loaded in float32."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    ours = model.encode_query(queries, convert_to_tensor=True, show_progress_bar=False)
    theirs = model.encode_document(texts, convert_to_tensor=True, show_progress_bar=False)
    return model.similarity_pairwise(ours, theirs).numpy()


def t5_scores(folder: Path, prompts: list[str] | list[list[int]], tokens: tuple[str, str]) -> np.ndarray:
    """Returns log P(tokens[1]) against tokens[0] at the first decoder step, by the whole model, one by one."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = tokenizer.convert_tokens_to_ids(list(tokens))
    start = torch.tensor([[model.config.decoder_start_token_id]])
    scores = []
    for prompt in prompts:
        ids = tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=start).logits[0, 0, rows]
        scores.append(float(logits.log_softmax(-1)[1]))
    return np.array(scores)
