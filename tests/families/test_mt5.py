"""mT5-base: google/mt5-base, airKlizz/mt5-base-wikinewssum-*, unicamp-dl/mt5-base-en-msmarco."""

from __future__ import annotations

import pytest
import torch

from testing import t5_triple
from tests.families.by_hand import SPELLINGS, files
from tests.families.cases import NO_VECTOR, Refused, Row
from tests.families.changes import (
    TRAINING_FILES,
    adapter,
    both,
    configured,
    disagreeing,
    lacking,
    published,
    removed,
    replaced,
    trapped,
)
from tests.families.family import Family
from tests.families.t5_scores import mt5_scores

# The embedding, 20 of the encoder and 30 of the decoder of 2 gated layers, and an output matrix of its own.
ALL = 52
#: As on the hub: .bin with copies of the embedding; the domain beside training_args.bin.
HUB = {"layout": "bin", "duplicated": True}
MIXED = {"base": torch.float32, "domain": torch.float16, "ranker": torch.bfloat16}

ROWS = [
    # hazard                                              merged  options of the factory, changes, what is kept
    Row("as published, training_args.bin beside the domain", ALL, HUB, scored=True, change=both(
        published(ranker="unicamp-dl/mt5-base-en-msmarco", domain="airKlizz/mt5-base-wikinewssum-german",
                  base="google/mt5-base"), trapped(*TRAINING_FILES, roles=("domain",)))),
    Row("no copies of the embedding", ALL, {"layout": "safetensors"}),
    Row("no word on tying in any config", ALL, scored=True, change=lambda triple: [
        configured(role, tie_word_embeddings=None)(triple) for role in ("ranker", "domain", "base")]),
    Row("no output matrix in the domain", ALL - 1, change=lacking("lm_head.weight", "domain"),
        kept={"lm_head.weight": NO_VECTOR}, scored=True),
    Row("no output matrix in the base", ALL - 1, HUB, change=lacking("lm_head.weight", "base"),
        kept={"lm_head.weight": NO_VECTOR}),
    Row("stray relative_attention_bias in the base", ALL, {**HUB, "stray": {"base": True}}),
    Row("shards with other boundaries in each", ALL, {**HUB, "layout": {"base": "sharded_bin", "domain": "sharded",
                                                                        "ranker": "sharded_bin"},
                                                      "shards": {"base": 3, "domain": 5, "ranker": 2}}, scored=True),
    Row("float32, float16, bfloat16", ALL, {"dtype": MIXED}, scored=True),
    Row("more rows than tokens: 12 of them, as 250112 for 250100", ALL, {"rows_extra": 12}),
    Row("the domain was resized to its tokens: as 250100 rows for 250112", ALL,
        {**HUB, "rows_extra": {"base": 12, "domain": 0, "ranker": 12}}, kept_rows=12, scored=True),
    Row("the domain added a token", ALL, {"extra_tokens": {"domain": ["<nachrichten>"]}}, kept_rows=28),
    Row("the domain has no tokenizer", ALL, change=removed("domain", "spiece.model", "tokenizer_config.json",
                                                           "special_tokens_map.json")),
    Row("domain a LoRA adapter over the base", ALL, HUB, adapter("domain", "q", "v"), moved=12),
    Row("domain saved again by transformers 5, which calls every mT5 tied", ALL, HUB, scored=True,
        change=configured("domain", tie_word_embeddings=True)),
    Row("all three saved again by transformers 5", ALL, HUB, change=lambda triple: [
        configured(role, tie_word_embeddings=True)(triple) for role in ("ranker", "domain", "base")]),
]

WI = "encoder.block.0.layer.1.DenseReluDense.wi_1.weight"
REFUSED = [
    # hazard                                              what the error says
    Refused("embed_tokens that is not the embedding", "encoder.embed_tokens.weight.*different values", HUB,
            disagreeing("encoder.embed_tokens.weight", "domain")),
    Refused("backbone parameter missing in the domain", rf"51 of 52 .*'{WI}' is absent from Θ_D '{{domain}}'", HUB,
            lacking(WI, "domain")),
    Refused("no output matrix in the ranker", "lacks 1 parameter of MT5ForConditionalGeneration: lm_head.weight",
            HUB, lacking("lm_head.weight", "ranker"), only_scoring=True),
    Refused("domain that truly ties its output to the embedding",
            "different architectures: tie_word_embeddings False and True", HUB,
            both(configured("domain", tie_word_embeddings=True), lacking("lm_head.weight", "domain"))),
    Refused("domain that is a T5", "different architectures: model_type 'mt5' and 't5'",
            change=replaced("domain", lambda folder: t5_triple(folder).domain)),
    Refused("other rows, and no tokenizer to match them by", "Θ_0 '{base}' has no tokenizer to match them by",
            {"rows_extra": {"base": 0}}, removed("base", "spiece.model", "tokenizer_config.json")),
]


class TestMT5(Family):
    name = "mt5"
    make = staticmethod(t5_triple)
    fixed = {"kind": "mt5"}
    rows = ROWS
    refused = REFUSED
    reference = staticmethod(mt5_scores)

    @pytest.mark.parametrize("dtype", [None, "float32"])
    def test_the_saved_output_matrix_is_never_tied(self, case, tmp_path, dtype):
        from transformers import AutoModelForSeq2SeqLM

        made = case(ROWS[0])
        folder = made.merge.save(tmp_path / "saved", dtype=dtype)
        assert {"shared.weight", "lm_head.weight"} <= set(files(folder))
        model = AutoModelForSeq2SeqLM.from_pretrained(folder)
        expected = made.by_hand()
        assert torch.equal(model.shared.weight.data, expected["shared.weight"])
        assert torch.equal(model.lm_head.weight.data, expected["lm_head.weight"])
        assert not torch.equal(expected["shared.weight"], expected["lm_head.weight"])
        assert SPELLINGS["mt5"].bare("lm_head.weight") == "lm_head.weight"
