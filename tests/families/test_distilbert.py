"""DistilBERT: distilbert-base-uncased, nlpie/bio-distilbert-uncased, sentence-transformers/msmarco-distilbert-base-…"""

from __future__ import annotations

import torch

from testing import bert_triple, t5_triple
from tests.families.cases import BUFFER, Refused, Row
from tests.families.changes import (
    adapter,
    configured,
    disagreeing,
    lacking,
    published,
    removed,
    renamed,
    replaced,
    spoilt,
    trapped,
)
from tests.families.family import Family
from tests.scorers.reference import sentence_transformers_scores

# 4 of the embeddings and 16 of each of 2 layers; none has a pooler.
ALL = 36
HEAD = ("vocab_transform", "vocab_layer_norm", "vocab_projector")
#: As on the hub: the base in safetensors, the domain in a .bin that repeats the decoder, the ranker in a .bin.
HUB = {"layout": {"domain": "bin", "ranker": "bin"}, "duplicated": {"domain": True}}
MIXED = {"base": torch.float32, "domain": torch.float16, "ranker": torch.bfloat16}

ROWS = [
    # hazard                                              merged  options of the factory, changes, what is kept
    Row("as published, ranker v2", ALL, {**HUB, "max_seq_length": 350}, scored=True, unused=HEAD, change=published(
        ranker="sentence-transformers/msmarco-distilbert-base-v2", domain="nlpie/bio-distilbert-uncased",
        base="distilbert-base-uncased")),
    Row("ranker v2 as saved in 2020: 0_Transformer, nothing said of similarity", ALL,
        {**HUB, "transformer_path": "0_Transformer"}, unused=HEAD, scored=True,
        change=removed("ranker", "config_sentence_transformers.json")),
    Row("ranker tas-b: CLS, dot product", ALL, {**HUB, "pooling": "cls", "similarity": "dot", "max_seq_length": 512},
        unused=HEAD, scored=True),
    Row("ranker v4: mean, normalised, 512 tokens", ALL, {**HUB, "normalize": True, "max_seq_length": 512},
        unused=HEAD, scored=True),
    Row("base and domain bare: no prefix, no head", ALL, {"prefixed_base": False}),
    Row("domain bare, base with prefix and head", ALL, {"prefixed_base": {"domain": False}}),
    Row("ranker named as sentence-transformers' module", ALL, unused=HEAD,
        change=renamed(lambda name: f"0.auto_model.{name}", "ranker")),
    Row("gamma and beta in the base", ALL, {"legacy_names": {"base": True}}, unused=HEAD),
    Row("decoder matrix repeated in .bin", ALL, {"layout": "bin", "duplicated": True}, unused=HEAD),
    Row("int64 position_ids everywhere", ALL, {"position_ids": True}, unused=HEAD,
        kept={"embeddings.position_ids": BUFFER}),
    Row("int64 position_ids in the base alone", ALL, {"position_ids": {"base": True}}, unused=HEAD),
    Row("shards with other boundaries in each", ALL, unused=HEAD, scored=True,
        options={"layout": {"base": "sharded", "domain": "sharded_bin", "ranker": "sharded"},
                 "shards": {"base": 2, "domain": 3, "ranker": 5}}),
    Row("float32, float16, bfloat16", ALL, {"dtype": MIXED}, unused=HEAD, scored=True),
    Row("all float16 in .bin", ALL, {"dtype": torch.float16, "layout": "bin", "position_ids": True}, unused=HEAD,
        kept={"embeddings.position_ids": BUFFER}),
    Row("the domain added tokens", ALL, {"extra_tokens": {"domain": ["interleukin", "covid"]}}, unused=HEAD,
        scored=True),
    Row("the ranker added a token", ALL, {"extra_tokens": {"ranker": ["[Q]"]}}, unused=HEAD, kept_rows=1, scored=True),
    Row("all three have other numbers of rows", ALL, unused=HEAD, kept_rows=2,
        options={"extra_tokens": {"ranker": ["[Q]", "[D]"], "domain": ["covid"]}}),
    Row("the domain has no tokenizer", ALL, unused=HEAD,
        change=removed("domain", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")),
    Row("domain a LoRA adapter over the base", ALL, {"layout": "bin"}, adapter("domain", "q_lin", "lin2"), unused=HEAD,
        moved=4, scored=True),
]

QUERY = "transformer.layer.1.attention.q_lin.weight"
REFUSED = [
    # hazard                                              what the error says
    Refused("decoder matrix that is not the embedding", "vocab_projector.weight.*different values",
            {"duplicated": True}, disagreeing("vocab_projector.weight", "domain")),
    Refused("backbone parameter missing in the domain", rf"35 of 36 .*'{QUERY}' is absent from Θ_D '{{domain}}'",
            change=lacking(QUERY, "domain")),
    Refused("backbone parameter missing in the base", rf"'{QUERY}' is absent from Θ_0 '{{base}}'",
            change=lacking(QUERY, "base")),
    Refused("backbone parameter missing in the ranker", rf"lacks 1 backbone parameter that .*: .*{QUERY}",
            change=lacking(QUERY, "ranker")),
    Refused("cased domain, as many tokens", r"tokenizers of .* disagree in \d+ rows.*cased or uncased",
            {"cased": {"domain": True}}),
    Refused("cased base and domain, fewer tokens", r"tokenizers of .* disagree: only \d+ of",
            {"cased": {"domain": True, "base": True}, "vocab": {"domain": 470, "base": 470}}),
    Refused("domain of more layers", "different architectures: n_layers 2 and 3",
            change=configured("domain", n_layers=3)),
    Refused("domain of another family", "different architectures: model_type 'distilbert' and 'bert'",
            change=replaced("domain", lambda folder: bert_triple(folder).domain)),
    Refused("base that is a T5", "different architectures: model_type 'distilbert' and 't5'",
            change=replaced("base", lambda folder: t5_triple(folder).base)),
    Refused("not a number in the base", r"Θ_0 '{base}': .*q_lin.weight holds 1 values that are NaN",
            change=spoilt(f"distilbert.{QUERY}", "base")),
    Refused("code in the domain's weights", "holds something other than tensors.*refused", {"layout": "bin"},
            trapped("pytorch_model.bin", roles=("domain",))),
]


class TestDistilBERT(Family):
    name = "distilbert"
    make = staticmethod(bert_triple)
    fixed = {"family": "distilbert"}
    rows = ROWS
    refused = REFUSED
    reference = staticmethod(sentence_transformers_scores)
