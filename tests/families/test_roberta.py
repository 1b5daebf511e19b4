"""RoBERTa-base: roberta-base, allenai/biomed_roberta_base, sentence-transformers/msmarco-roberta-base-v2 and -v3."""

from __future__ import annotations

import torch

from testing import bert_triple
from tests.families.cases import BUFFER, POOLER, Refused, Row
from tests.families.changes import (
    adapter,
    configured,
    disagreeing,
    lacking,
    published,
    removed,
    renamed,
    replaced,
    trapped,
)
from tests.families.family import Family
from tests.scorers.reference import sentence_transformers_scores

# 5 of the embeddings and 16 of each of 2 layers; the ranker's pooler is kept, and no embedding is made with it.
ALL = 37
HEAD = ("lm_head",)
#: As on the hub: .bin with the decoder twice and int64 position ids, the base with a pooler.
HUB = {"layout": "bin", "duplicated": True, "position_ids": True, "pooler_in": ("base", "ranker"),
       "max_seq_length": 250}
HUB_KEPT = {**POOLER, "embeddings.position_ids": BUFFER}
MIXED = {"base": torch.bfloat16, "domain": torch.float32, "ranker": torch.float16}
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

ROWS = [
    # hazard                                              merged  options of the factory, changes, what is kept
    Row("as published, ranker v2 cut at 250 tokens", ALL, HUB, kept=HUB_KEPT, unused=HEAD, scored=True,
        change=published(ranker="sentence-transformers/msmarco-roberta-base-v2", domain="allenai/biomed_roberta_base",
                         base="roberta-base")),
    Row("ranker v2 as saved in 2020: 0_Transformer, nothing said of similarity", ALL,
        {**HUB, "transformer_path": "0_Transformer"}, kept=HUB_KEPT, unused=HEAD,
        change=removed("ranker", "config_sentence_transformers.json")),
    Row("ranker v3: mean and cosine, 510 tokens", ALL, {"max_seq_length": 510}, kept=POOLER, unused=HEAD, scored=True),
    Row("pooler in the ranker alone", ALL, kept=POOLER, unused=HEAD),
    Row("pooler in all three", ALL + 2, {"pooler_in": ("base", "domain", "ranker")}, unused=HEAD),
    Row("pooler in base and domain alone", ALL, {"pooler_in": ("base", "domain")}, unused=("pooler", *HEAD),
        scored=True),
    Row("base and domain bare: no prefix, no head", ALL, {"prefixed_base": False}, kept=POOLER),
    Row("ranker with the prefix and no head", ALL, kept=POOLER, unused=HEAD, scored=True,
        change=renamed(lambda name: f"roberta.{name}", "ranker")),
    Row("gamma and beta in the base", ALL, {"legacy_names": {"base": True}}, kept=POOLER, unused=HEAD),
    Row("shards with other boundaries in each", ALL, kept=HUB_KEPT, unused=HEAD,
        options={"layout": {"base": "sharded_bin", "domain": "sharded_bin", "ranker": "sharded"}, "position_ids": True,
                 "shards": {"base": 2, "domain": 4, "ranker": 3}, "duplicated": True}),
    Row("bfloat16, float32, float16, with int64 position_ids", ALL, {"dtype": MIXED, "position_ids": True},
        kept=HUB_KEPT, unused=HEAD, scored=True),
    Row("the domain added tokens", ALL, {"extra_tokens": {"domain": ["interleukin", "covid"]}}, kept=POOLER,
        unused=HEAD),
    Row("the ranker added a token", ALL, {"extra_tokens": {"ranker": ["[Q]"]}}, kept=POOLER, kept_rows=1, unused=HEAD,
        scored=True),
    Row("domain a LoRA adapter over the base", ALL + 2, HUB, adapter("domain", "query", "value"), moved=4,
        kept={"embeddings.position_ids": BUFFER}, unused=HEAD, scored=True),
]

VALUE = "encoder.layer.0.attention.self.value.bias"
REFUSED = [
    # hazard                                              what the error says
    Refused("decoder matrix that is not the embedding", "lm_head.decoder.weight.*different values", HUB,
            disagreeing("lm_head.decoder.weight", "base")),
    Refused("backbone parameter missing in the domain", rf"36 of 37 .*'{VALUE}' is absent from Θ_D '{{domain}}'",
            HUB, lacking(VALUE, "domain")),
    Refused("backbone parameter missing in both", rf"'{VALUE}' is absent from Θ_D '{{domain}}' and Θ_0 '{{base}}'",
            change=lacking(VALUE, "domain", "base")),
    Refused("domain whose tokens are in another order", r"tokenizers of .* disagree in \d+ rows",
            change=replaced("domain", lambda folder: _other_order(folder))),
    Refused("domain that is a BERT", "different architectures: model_type 'roberta' and 'bert'",
            change=replaced("domain", lambda folder: bert_triple(folder).domain)),
    Refused("base and domain that are DistilRoBERTa, of fewer layers",
            "different architectures: num_hidden_layers 2 and 1",
            change=lambda triple: [configured(role, num_hidden_layers=1)(triple) for role in ("domain", "base")]),
    Refused("code in the ranker's weights", "holds something other than tensors.*refused", HUB,
            trapped("pytorch_model.bin", roles=("ranker",))),
]


def _other_order(folder):
    """A domain whose byte-level tokens start with other special ones, as GPT-2's do."""
    made = bert_triple(folder, family="roberta").domain
    for name in ("vocab.json", "tokenizer.json"):
        text = (made / name).read_text(encoding="utf-8")
        (made / name).write_text(text.replace("<unk>", "<|endoftext|>"), encoding="utf-8")
    return made


class TestRoBERTa(Family):
    name = "roberta"
    make = staticmethod(bert_triple)
    fixed = {"family": "roberta"}
    rows = ROWS
    refused = REFUSED
    reference = staticmethod(sentence_transformers_scores)
