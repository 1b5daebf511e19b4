"""T5-large: google-t5/t5-large, razent/SciFive-large-Pubmed_PMC, castorini/monot5-large-msmarco (a bare T5Model)."""

from __future__ import annotations

import torch

from testing import t5_triple
from tests.families.by_hand import STRAY
from tests.families.cases import UNREAD, Refused, Row
from tests.families.changes import disagreeing, lacking, published, replaced
from tests.families.family import Family
from tests.families.t5_scores import monot5_scores

# The embedding, 42 of the encoder and 67 of the decoder of 5 layers.
ALL = 110
#: The ranker has no output matrix and float32 weights; its .bin repeats the embedding twice, the domain's thrice.
HUB = {"layout": {"domain": "bin", "ranker": "bin"}, "bare": {"ranker": True}, "tokenizer_json": {"base": True},
       "duplicated": {"domain": True, "ranker": True}, "stray": {"base": True}}

ROWS = [
    # hazard                                              merged  options of the factory, changes, what is kept
    Row("as published: ranker a bare T5Model", ALL, HUB, scored=True, change=published(
        ranker="castorini/monot5-base-msmarco", domain="razent/SciFive-base-Pubmed_PMC", base="google-t5/t5-base")),
    Row("all three bare", ALL, {"bare": True, "layout": "bin", "duplicated": True}, scored=True),
    Row("ranker bare with the stray parameter", ALL, {"bare": {"ranker": True}, "stray": True}, kept={STRAY: UNREAD}),
    Row("shards with other boundaries in each", ALL, scored=True, options={
        **HUB, "layout": {"base": "sharded", "domain": "sharded_bin", "ranker": "sharded_bin"},
        "shards": {"base": 2, "domain": 5, "ranker": 7}}),
    Row("base and domain in bfloat16", ALL, {**HUB, "dtype": {"base": torch.bfloat16, "domain": torch.bfloat16}}),
]

REFUSED = [
    # hazard                                              what the error says
    Refused("embed_tokens of the bare ranker that is not the embedding", "embed_tokens.weight.*different values", HUB,
            disagreeing("decoder.embed_tokens.weight", "ranker")),
    Refused("backbone parameter missing in the domain", "109 of 110 .*'encoder.final_layer_norm.weight' is absent from",
            HUB, lacking("encoder.final_layer_norm.weight", "domain")),
    Refused("domain of the size T5-base", "different architectures: num_layers 5 and 2",
            change=replaced("domain", lambda folder: t5_triple(folder).domain)),
]


class TestT5Large(Family):
    name = "t5"
    make = staticmethod(t5_triple)
    fixed = {"layers": 5}
    rows = ROWS
    refused = REFUSED
    reference = staticmethod(monot5_scores)
