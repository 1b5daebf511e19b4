"""Configurations that change what the same weights compute: refused, or told with file, key and both values."""

import json
import re
import warnings

import pytest
from transformers import AutoConfig

from pyterrier_taskarith._meaning import differing, meaning, structure
from pyterrier_taskarith.arithmetic import MergeError
from pyterrier_taskarith.errors import ScorerError
from testing import bert_triple, llama_triple
from tests.reranking import frame, reranker
from tests.scorers.reference import edit_json


def configured(folder, changes):
    """Writes new entries; None removes one."""
    edit_json(folder / "config.json", **changes)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu_new"])
def test_another_activation_is_refused(tmp_path, activation):
    triple = bert_triple(tmp_path)
    configured(triple.base, {"hidden_act": activation})
    with pytest.raises(MergeError, match=f"different architectures: hidden_act 'gelu' and '{activation}'"):
        _ = reranker(triple).plan


def test_spellings_of_one_activation_are_one(tmp_path):
    triple = bert_triple(tmp_path)
    for folder, name in zip((triple.ranker, triple.domain, triple.base), ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
                            strict=True):
        configured(folder, {"hidden_act": name})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = reranker(triple).plan


@pytest.mark.parametrize(("changes", "words"), [
    ({"rope_theta": 500000.0}, r"rotary positions \{.*10000.0.*\} and \{.*500000.0"),
    ({"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0}}, "20000.0"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'type': 'linear', 'factor': 2.0"),
    ({"rms_norm_eps": 0.01}, "rms_norm_eps 1e-05 and 0.01"),
])
def test_another_meaning_is_told_and_not_scored_with(tmp_path, changes, words):
    triple = llama_triple(tmp_path)
    for folder in (triple.ranker, triple.domain, triple.base):
        configured(folder, {"rope_theta": 10000.0, "rope_parameters": None, "rms_norm_eps": 1e-5})
    configured(triple.domain, changes)
    r = reranker(triple)
    with pytest.warns(UserWarning, match=f"Θ_T .*ranker' and Θ_D .*domain' compute differently .*{words}.*config.json"):
        _ = r.plan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(r(frame(1, 2))) == len(r.copy(variant="base")(frame(1, 2))) == 2
        with pytest.raises(ScorerError, match=f"variant='domain': .* computes differently from .*{words}"):
            r.copy(variant="domain")(frame(1, 2))


def test_both_spellings_of_rotary_positions_are_one(tmp_path):
    triple = llama_triple(tmp_path)
    configured(triple.ranker, {"rope_theta": 10000.0, "rope_parameters": None, "rope_scaling": None})
    configured(triple.domain, {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}})
    assert "rope_theta" not in json.loads((triple.domain / "config.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = reranker(triple).plan


MODERN = {"model_type": "modernbert", "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
QWEN = {"model_type": "qwen2", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
MISTRAL = QWEN | {"model_type": "mistral"}
LLAMA = QWEN | {"model_type": "llama"}
BERT = {"model_type": "bert", "hidden_size": 32}
SPELT = {"full_attention": {"rope_type": "default", "rope_theta": 160000.0},
         "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
#: Two configurations that compute alike: what one states is what its class has by itself.
ALIKE = [
    (BERT, BERT | {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"}),
    (BERT | {"intermediate_size": 3072}, BERT | {"num_hidden_layers": 12, "is_decoder": False}),
    ({"model_type": "t5"}, {"model_type": "t5", "feed_forward_proj": "relu", "relative_attention_max_distance": 128}),
    ({"model_type": "distilbert"}, {"model_type": "distilbert", "activation": "gelu", "hidden_dim": 3072, "dim": 768}),
    (LLAMA | {"num_key_value_heads": None}, LLAMA | {"num_key_value_heads": 4}),
    (LLAMA | {"rope_scaling": None, "head_dim": 8}, LLAMA | {"rope_theta": 10000.0}),
    (MISTRAL, MISTRAL | {"sliding_window": 4096}),
    (QWEN | {"use_sliding_window": False, "sliding_window": 99}, QWEN),
    (MODERN, MODERN | {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "local_attention": 128}),
    (MODERN | {"norm_eps": 1e-5, "global_attn_every_n_layers": 3}, MODERN),
    (MODERN | {"global_rope_theta": 160000.0}, MODERN | {"rope_parameters": SPELT}),
]
#: Two that do not, and the entry in which they differ.
UNLIKE = [
    (structure, BERT, BERT | {"hidden_act": "relu"}, "hidden_act 'gelu' and 'relu'"),
    (structure, BERT | {"position_embedding_type": "relative_key"}, BERT, "'relative_key' and 'absolute'"),
    (structure, {"model_type": "t5", "feed_forward_proj": "gated-gelu"}, {"model_type": "t5"}, "feed_forward_proj"),
    (structure, LLAMA | {"num_key_value_heads": None}, LLAMA | {"num_key_value_heads": 2}, "_heads 4 and 2"),
    (structure, BERT, BERT | {"num_hidden_layers": 6}, "num_hidden_layers 12 and 6"),
    (structure, BERT, {"model_type": "electra", "hidden_size": 32}, "model_type 'bert' and 'electra'"),
    (meaning, BERT | {"layer_norm_eps": 1e-5}, BERT, "layer_norm_eps 1e-05 and 1e-12"),
    (meaning, BERT | {"is_decoder": True}, BERT, "is_decoder True and False"),
    (meaning, LLAMA | {"rope_theta": 500000.0}, LLAMA, "rotary positions .*500000.0.* and .*10000.0"),
    (meaning, LLAMA, LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "'linear'"),
    (meaning, {"model_type": "t5", "relative_attention_max_distance": 64}, {"model_type": "t5"}, "64 and 128"),
    (meaning, MISTRAL | {"sliding_window": None}, MISTRAL, "sliding_window None and 4096"),
    (meaning, MODERN | {"local_attention": 64}, MODERN, "local_attention|sliding_window"),
    (meaning, MODERN | {"global_rope_theta": 80000.0}, MODERN, "80000.0.* and .*160000.0"),
    (meaning, MODERN | {"global_rope_theta": 80000.0}, MODERN | {"rope_parameters": SPELT}, "80000.0.* and .*160000.0"),
]


@pytest.mark.parametrize(("ours", "theirs"), ALIKE)
def test_what_a_class_has_by_itself_is_no_difference(ours, theirs):
    assert not [words for one, other in ((ours, theirs), (theirs, ours)) for entries in (structure, meaning)
                for words in differing(one, other, entries)]


@pytest.mark.parametrize(("entries", "ours", "theirs", "words"), UNLIKE)
def test_what_a_class_has_otherwise_is_a_difference(entries, ours, theirs, words):
    assert re.search(words, "; ".join(differing(ours, theirs, entries))) and differing(theirs, ours, entries)


def test_configurations_that_are_alike_need_no_transformers(monkeypatch):
    monkeypatch.setattr(AutoConfig, "for_model", lambda *_: pytest.fail("it was asked"))
    for config in (BERT, MODERN, LLAMA):
        assert not differing(config | {"transformers_version": "4"}, dict(config), structure)
