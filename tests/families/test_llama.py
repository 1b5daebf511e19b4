"""Llama-2-7B: meta-llama/Llama-2-7b-hf, nlpie/Llama2-MedTuned-7b, zyznull/RankingGPT-llama2-7b (query likelihood)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from testing import llama_triple, t5_triple
from tests.families.by_hand import saved_by_hand
from tests.families.cases import ALPHA, BUFFER, NO_VECTOR, Refused, Row, frame
from tests.families.changes import adapter, both, configured, lacking, removed, renamed, replaced, spoilt, trapped
from tests.families.family import Family
from tests.scorers.causal_reference import query_likelihoods

# The embedding, 9 of each of 2 layers, the last norm and the output matrix.
ALL = 21
#: As on the hub: 16-bit shards cut in different places, rotary buffers in some, a ranker trained with padding.
HUB = {"layout": {"base": "sharded", "domain": "sharded", "ranker": "sharded_bin"}, "inv_freq": {"base": True},
       "shards": {"base": 2, "domain": 3, "ranker": 2}, "dtype": {"ranker": torch.bfloat16}}
FREQUENCIES = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": BUFFER for layer in (0, 1)}
PADDED = {"pad_token": {"ranker": True}}
MIXED = {"base": torch.float16, "domain": torch.bfloat16, "ranker": torch.float32}
TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")

ROWS = [
    # hazard                                              merged  options of the factory, changes, what is kept
    Row("as published", ALL, HUB, scored=True),
    Row("ranker of 32001 rows for 32000", ALL, {**HUB, **PADDED}, kept_rows=1, scored=True),
    Row("domain of 32001 rows for 32000", ALL, {**HUB, "pad_token": {"domain": True}}, scored=True),
    Row("ranker and domain of 32001 rows for 32000", ALL, {"pad_token": {"domain": True, "ranker": True}}, kept_rows=1),
    Row("all three of 32001 rows", ALL, {"pad_token": True}),
    Row("32001 rows, tokenizer.json in some", ALL, {**PADDED, "tokenizer_json": {"base": True, "ranker": True}},
        kept_rows=1),
    Row("inv_freq in the ranker's shards", ALL, {"inv_freq": {"ranker": True}, "layout": "sharded_bin"},
        kept=FREQUENCIES, scored=True),
    Row("inv_freq in all three", ALL, {"inv_freq": True}, kept=FREQUENCIES),
    Row("one file each", ALL, {"layout": {"base": "safetensors", "domain": "bin", "ranker": "safetensors"}}),
    Row("float16, bfloat16, float32", ALL, {"dtype": MIXED}, scored=True),
    Row("all bfloat16", ALL, {"dtype": torch.bfloat16}),
    Row("fewer heads of keys and values", ALL, {"kv_heads": 2}, scored=True),
    Row("no output matrix in the domain: a bare LlamaModel", ALL - 1, {"layout": "bin"}, kept={
        "lm_head.weight": NO_VECTOR}, change=both(
            lacking("lm_head.weight", "domain"), renamed(lambda name: name.removeprefix("model."), "domain"))),
    Row("the domain has no tokenizer", ALL, change=removed("domain", *TOKENIZER)),
    Row("domain a LoRA adapter over the base", ALL, HUB, adapter("domain", "q_proj", "v_proj"), moved=4, scored=True),
    Row("ranker a LoRA adapter over the base", ALL, HUB, scored=True, change=adapter(
        "ranker", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), kept=FREQUENCIES),
]

DOWN = "layers.1.mlp.down_proj.weight"
BIN = {"layout": "bin"}
REFUSED = [
    # hazard                                              what the error says
    Refused("backbone parameter missing in the domain", rf"'{DOWN}' is absent from Θ_D '{{domain}}'", BIN,
            lacking(DOWN, "domain")),
    Refused("backbone parameter missing in the base", rf"'{DOWN}' is absent from Θ_0 '{{base}}'", BIN,
            lacking(DOWN, "base")),
    Refused("no output matrix in the ranker", "lacks 1 parameter of LlamaForCausalLM: lm_head.weight", BIN,
            lacking("lm_head.weight", "ranker"), only_scoring=True),
    Refused("32001 rows, and no tokenizer to match them by", "Θ_D '{domain}'|{domain} − {base}.* has no tokenizer",
            PADDED, lambda triple: [removed(role, *TOKENIZER)(triple) for role in ("domain", "base")]),
    Refused("domain that ties its output to the embedding",
            "different architectures: tie_word_embeddings False and True",
            change=configured("domain", tie_word_embeddings=True)),
    Refused("domain with other heads of keys and values", "different architectures: num_key_value_heads 4 and 2",
            change=replaced("domain", lambda folder: llama_triple(folder, kv_heads=2).domain)),
    Refused("base that is a T5", "different architectures: model_type 'llama' and 't5'",
            change=replaced("base", lambda folder: t5_triple(folder).base)),
    Refused("not a number in the domain", rf"Θ_D '{{domain}}': {DOWN} holds 1 values that are NaN", BIN,
            spoilt(f"model.{DOWN}", "domain")),
    Refused("code in a shard of the domain", "holds something other than tensors.*refused", {"layout": "sharded_bin"},
            trapped("pytorch_model-00002-of-00003.bin", roles=("domain",))),
]


class TestLlama(Family):
    name = "llama"
    make = staticmethod(llama_triple)
    rows = ROWS
    refused = REFUSED
    reference = staticmethod(partial(query_likelihoods, truncation="keep_prompt"))

    def test_the_papers_truncation_gives_the_authors_scores(self, case, tmp_path):
        made, given = case(ROWS[1]), frame()
        folder = saved_by_hand(made.triple.ranker, tmp_path / "by hand", made.by_hand(ALPHA), made.spelling)
        expected = query_likelihoods(folder, given["query"].tolist(), given["text"].tolist(), "paper")
        found = made.reranker(truncation="paper").transform(given)["score"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(expected - made.reranker().transform(given)["score"]).max() > 1e-3
