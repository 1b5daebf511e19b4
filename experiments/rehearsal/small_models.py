"""Small random triples in the layouts of the published checkpoints, with what is odd about each."""

from collections.abc import Callable
from pathlib import Path

from testing import bert_triple, llama_triple, t5_triple

#: System -> what writes a triple of its family into a folder; the seed tells several domains apart.
MAKERS: dict[str, Callable[[Path, int], object]] = {
    # 16-bit shards cut in different places.
    "Llama-2-7B": lambda folder, seed: llama_triple(folder, inv_freq={"base": True}, seed=seed),
    # Pickles, a ranker without an output matrix, a stray tensor.
    "T5-Large": lambda folder, seed: t5_triple(folder, layers=3, layout="bin", bare={"ranker": True},
                                               stray={"base": True}, seed=seed),
    # Pickles that repeat the tied matrices.
    "T5-base": lambda folder, seed: t5_triple(folder, layout={"ranker": "bin", "domain": "bin"},
                                              duplicated={"ranker": True}, seed=seed),
    # Masked models with prefixed names and position ids, a sentence-transformers ranker without.
    "RoBERTa-base": lambda folder, seed: bert_triple(folder, family="roberta", layout={"domain": "bin", "base": "bin"},
                                                     position_ids={"domain": True}, duplicated={"domain": True},
                                                     seed=seed),
    "DistilBERT": lambda folder, seed: bert_triple(folder, family="distilbert", seed=seed),
    # An output matrix of its own.
    "mT5-base": lambda folder, seed: t5_triple(folder, kind="mt5", layout={"ranker": "bin"}, seed=seed),
}
