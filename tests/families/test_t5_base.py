"""T5-base: google-t5/t5-base, razent/SciFive-base-Pubmed_PMC, castorini/monot5-base-msmarco."""

from __future__ import annotations

import torch

from testing import bert_triple, t5_triple
from tests.families.by_hand import STRAY
from tests.families.cases import UNREAD, Refused, Row
from tests.families.changes import (
    adapter,
    both,
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
from tests.families.t5_scores import monot5_scores

# The embedding, 18 of the encoder and 28 of the decoder of 2 layers; the output matrix is the embedding.
ALL = 47
#: As on the hub: the base in safetensors with both tokenizers, the others in .bin with all copies and spiece.model.
HUB = {"layout": {"domain": "bin", "ranker": "bin"}, "duplicated": {"domain": True, "ranker": True},
       "stray": {"base": True, "domain": True}, "tokenizer_json": {"base": True}}
PUBLISHED = published(ranker="castorini/monot5-base-msmarco", domain="razent/SciFive-base-Pubmed_PMC",
                      base="google-t5/t5-base")
MIXED = {"base": torch.float32, "domain": torch.bfloat16, "ranker": torch.float16}

ROWS = [
    # hazard                                              merged  options of the factory, changes, what is kept
    Row("as published", ALL, HUB, PUBLISHED, scored=True),
    Row("shared, embed_tokens and lm_head repeated in all three", ALL, {"layout": "bin", "duplicated": True},
        scored=True),
    Row("shared, embed_tokens and lm_head repeated in safetensors", ALL, {"duplicated": True}),
    Row("the embedding under a tied name alone", ALL, scored=True, change=renamed(
        lambda name: name.replace("shared.weight", "encoder.embed_tokens.weight"), "domain", "ranker")),
    Row("stray relative_attention_bias in all three", ALL, {"layout": "bin", "stray": True}, kept={STRAY: UNREAD},
        scored=True),
    Row("stray relative_attention_bias in base and domain", ALL, {"stray": {"base": True, "domain": True}}),
    Row("ranker a bare T5Model", ALL, {"bare": {"ranker": True}}, scored=True),
    Row("shards with other boundaries in each", ALL, {"layout": {"base": "sharded", "domain": "sharded_bin",
                                                                 "ranker": "sharded_bin"},
                                                      "shards": {"base": 4, "domain": 2, "ranker": 3}}, scored=True),
    Row("float32, bfloat16, float16", ALL, {"dtype": MIXED}, scored=True),
    Row("all bfloat16 in .bin", ALL, {"dtype": torch.bfloat16, "layout": "bin", "duplicated": True}),
    Row("more rows than tokens: 28 of them, as 32128 for 32100", ALL, {"rows_extra": 28}),
    Row("tokenizer.json in some, spiece.model alone in others", ALL, {"tokenizer_json": {"domain": True}}),
    Row("the domain has no tokenizer", ALL, change=removed("domain", "spiece.model", "tokenizer_config.json",
                                                           "special_tokens_map.json")),
    Row("the domain was resized to its tokens: as 32100 rows for 32128", ALL, {"rows_extra": {"domain": 0}},
        kept_rows=28),
    Row("the same with tokenizer.json in all three", ALL, {"rows_extra": {"domain": 0}, "tokenizer_json": True},
        kept_rows=28, scored=True),
    Row("domain a LoRA adapter over the base", ALL, {"tokenizer_json": {"base": True}}, adapter("domain", "q", "v"),
        moved=12, scored=True),
    Row("ranker a LoRA adapter over the base", ALL, {"layout": "bin", "duplicated": True},
        adapter("ranker", "q", "k", "v", "o", "wi", "wo"), scored=True),
]

WO = "decoder.block.1.layer.2.DenseReluDense.wo.weight"
V11 = configured("domain", feed_forward_proj="gated-gelu", tie_word_embeddings=False)
REFUSED = [
    # hazard                                              what the error says
    *(Refused(f"{name} that is not the embedding", rf"{name}.*different values|different values.*{name}", HUB,
              disagreeing(name, "domain"))
      for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")),
    Refused("backbone parameter missing in the domain", rf"46 of 47 .*'{WO}' is absent from Θ_D '{{domain}}'", HUB,
            lacking(WO, "domain")),
    Refused("embedding missing in the base", "'shared.weight' is absent from Θ_0 '{base}'",
            change=lacking("shared.weight", "base")),
    Refused("backbone parameter missing in the ranker", rf"lacks 1 backbone parameter that .*: {WO}",
            change=lacking(WO, "ranker")),
    Refused("domain that is T5 v1.1", "different architectures: feed_forward_proj 'relu' and 'gated-gelu'", HUB,
            both(PUBLISHED, V11)),
    Refused("the same, and a ranker whose config leaves the class's activation out", "feed_forward_proj 'relu' and "
            "'gated-gelu'", HUB, both(PUBLISHED, V11, configured("ranker", feed_forward_proj=None))),
    Refused("domain that is an mT5", "different architectures: model_type 't5' and 'mt5'",
            change=replaced("domain", lambda folder: t5_triple(folder, kind="mt5").domain)),
    Refused("domain of the size T5-large", "different architectures: num_layers 2 and 4",
            change=replaced("domain", lambda folder: t5_triple(folder, layers=4).domain)),
    Refused("base that is a BERT", "different architectures: model_type 't5' and 'bert'",
            change=replaced("base", lambda folder: bert_triple(folder).base)),
    Refused("not a number in the ranker", rf"Θ_T '{{ranker}}': {WO} holds 1 values that are NaN",
            change=spoilt(WO, "ranker")),
    Refused("code in the base's weights", "holds something other than tensors.*refused", {"layout": "bin"},
            trapped("pytorch_model.bin", roles=("base",))),
]


class TestT5Base(Family):
    name = "t5"
    make = staticmethod(t5_triple)
    rows = ROWS
    refused = REFUSED
    reference = staticmethod(monot5_scores)
