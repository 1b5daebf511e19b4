"""Adapters that cannot be merged exactly are refused, with the key or the entry named."""

import json
import pickle
import sys

import pytest
import torch

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError, MissingPackageError
from testing import bert_triple, lora_adapter, t5_triple
from tests.checkpoints.by_hand import copied, raw

MODULE = "bert.encoder.layer.0.attention.self.query"


def refuses(folder, message):
    """Asserts that a folder is refused with a message."""
    with pytest.raises(CheckpointError, match=message):
        _ = Checkpoint(folder).shapes


@pytest.mark.parametrize(("settings", "message"), [
    ({"peft_type": "IA3"}, "peft_type='IA3' is not supported, only 'LORA'"),
    ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 20}, "peft_type='PREFIX_TUNING'"),
    ({"peft_type": ["LORA"]}, r"peft_type = .* must be a text"),
    ({"layer_replication": [[0, 2], [1, 2]]}, r"layer_replication=\[\[0, 2\], \[1, 2\]\] is not supported"),
    ({"megatron_config": {"a": 1}}, "megatron_config=.* is not supported"),
    ({"use_qalora": True}, "use_qalora=True is not supported"),
    ({"target_parameters": ["mlp.experts"]}, "target_parameters=.*is not supported"),
    ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens=.*is not supported"),
    ({"setting_of_the_future": 3}, "setting_of_the_future=3 is not supported"),
    ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'.*changes the base"),
    ({"init_lora_weights": "loftq"}, "init_lora_weights='loftq'.*changes the base"),
    ({"init_lora_weights": 1}, "init_lora_weights=1"),
    ({"r": 0}, "r: the rank 0 is not a whole"), ({"r": True}, "the rank True"), ({"r": 3}, "fits the base model"),
    ({"lora_alpha": "8"}, "lora_alpha: alpha '8'"), ({"lora_alpha": float("nan")}, "alpha nan"),
    ({"rank_pattern": {"query": 3}}, r"lora_A.weight' has the shape \[4, 32\], but \[3, 32\] fits"),
    ({"rank_pattern": ["query"]}, "rank_pattern = .* must be an object"),
    ({"alpha_pattern": {"(": 3}}, "is not an adapter's configuration"),
    ({"base_model_name_or_path": None}, "names no base model; write its hub id or folder"),
    ({"use_dora": True}, "PEFT cannot merge it .*2 entries are missing.*lora_magnitude_vector"),
    ({"use_dora": True, "r": 10**9}, "the rank 1000000000 is larger than every matrix"),
])
def test_a_setting_that_would_change_the_weights_otherwise_is_named(bert, tmp_path, settings, message):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"])
    path = tmp_path / "a" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    refuses(tmp_path / "a", message)


@pytest.mark.parametrize(("entries", "message"), [
    ({"bert.encoder.layer.7.attention.self.query.lora_A.weight": (4, 32)}, "1 entries fit nothing.*layer.7"),
    ({f"{MODULE}.lora_C.weight": (4, 32)}, "fit nothing.*lora_C"),
    ({f"{MODULE}.lora_A.default.weight": (4, 32)}, "fit nothing.*lora_A.default"),
    ({"prompt_embeddings": (4, 32)}, "fit nothing.*prompt_embeddings"),
    ({"classifier.weight": (2, 32)}, "fit nothing.*classifier.weight"),
    ({"bert.encoder.layer.0.attention.self.key.lora_A.weight": (4, 32)}, "PEFT cannot merge it .*key.lora_"),
    ({"bert.encoder.layer.0.attention.self.key.lora_B.weight": (32, 4)}, "PEFT cannot merge it .*key.lora_"),
    ({f"{MODULE}.lora_magnitude_vector": (32,)}, "1 entries are missing or unknown.*magnitude_vector"),
    ({"bert.encoder.layer.0.attention.output.dense.weight": (32, 31)}, r"has the shape \[32, 31\], in the base model"),
    ({"bert.encoder.layer.0.attention.self.key.lora_B.bias": (31,)}, "entries are missing or unknown.*key.lora_B"),
    ({"bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta": (2, 32)}, "PEFT cannot.*tokens_delta"),
    ({"bert.embeddings.LayerNorm.lora_A.weight": (4, 32), "bert.embeddings.LayerNorm.lora_B.weight": (32, 4)},
     "PEFT cannot merge it.*LayerNorm"),
    ({"cls.predictions.decoder.lora_A.weight": (4, 32), "cls.predictions.decoder.lora_B.weight": (500, 4)},
     "it adapts cls.predictions.decoder, which the base model .* ties to another matrix"),
    ({f"{MODULE}.lora_A.weight": (4, 32, 1)}, r"has the shape \[4, 32, 1\], but \[4, 32\] fits"),
    ({f"{MODULE}.lora_A.weight": (0,)}, r"has the shape \[0\]"),
])
def test_an_entry_that_fits_nothing_is_named(bert, tmp_path, entries, message):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"],
                 extra={name: torch.ones(shape) for name, shape in entries.items()})
    refuses(tmp_path / "a", message)


@pytest.mark.parametrize(("indices", "message"), [([3, 10_000], "PEFT cannot merge it.*index 10000 is out of bounds"),
                                                  ([3], "PEFT cannot merge it.*size mismatch")])
def test_trained_rows_must_be_rows_of_the_embedding(bert, tmp_path, indices, message):
    name = "bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta"
    lora_adapter(tmp_path / "a", bert.base, targets=["query"], extra={name: torch.ones(2, 32)},
                 trainable_token_indices=indices)
    refuses(tmp_path / "a", message)


@pytest.mark.parametrize("module", ["shared", "encoder.embed_tokens", "lm_head"])
def test_b_a_on_one_of_several_tied_matrices_is_refused(tmp_path, module):
    made = t5_triple(tmp_path, duplicated=True)
    rows, width = raw(made.base)["shared.weight"].shape
    lora_adapter(tmp_path / "a", made.base, targets=["q"], task_type="SEQ_2_SEQ_LM", extra={
        f"{module}.lora_A.weight": torch.ones(4, width), f"{module}.lora_B.weight": torch.ones(rows, 4)})
    refuses(tmp_path / "a", f"it adapts {module}, which the base model .* ties to another matrix")


def test_a_tied_matrix_saved_under_two_names_with_different_values_is_refused(tmp_path):
    made = bert_triple(tmp_path, duplicated=True)
    embedding = torch.randn(raw(made.base)["bert.embeddings.word_embeddings.weight"].shape)
    lora_adapter(tmp_path / "a", made.base, targets=["query"], extra={
        "bert.embeddings.word_embeddings.weight": embedding, "cls.predictions.decoder.weight": embedding + 1})
    refuses(tmp_path / "a", "are one parameter in this architecture, but the adapter has different values")


def test_an_adapter_without_entries_is_refused(bert, tmp_path):
    lora_adapter(tmp_path / "a", bert.base, targets=[])
    refuses(tmp_path / "a", "holds no entry of an adapter")


def test_a_folder_with_a_models_and_an_adapters_weights_does_not_say_which_is_meant(bert, tmp_path):
    folder = copied(bert.base, tmp_path / "both")
    lora_adapter(folder, bert.base, targets=["query"])
    refuses(folder, "model.safetensors.*adapter_model.safetensors.*Name one of the two files")


def test_a_configuration_without_weights_names_what_is_missing(bert, tmp_path):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"])
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    refuses(tmp_path / "a", "has adapter_config.json, but none of adapter_model.safetensors, adapter_model.bin")


@pytest.mark.parametrize("content", ["{", "[]", "", "\ud83d", "[" * 100_000])
def test_a_configuration_that_is_none_is_named(bert, tmp_path, content):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"])
    (tmp_path / "a" / "adapter_config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    refuses(tmp_path / "a", "adapter_config.json is not (JSON|a JSON object)")


def test_an_adapter_of_an_adapter_is_refused_and_so_is_one_of_itself(bert, tmp_path):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"])
    lora_adapter(tmp_path / "b", bert.base, targets=["query"], base_name=str(tmp_path / "a"))
    refuses(tmp_path / "b", "an adapter itself; merge it")
    lora_adapter(tmp_path / "a", bert.base, targets=["query"], base_name=str(tmp_path / "b"))
    refuses(tmp_path / "b", "an adapter itself; merge it")
    lora_adapter(tmp_path / "b", bert.base, targets=["query"], base_name=".")
    refuses(tmp_path / "b", "the adapter's own folder")


@pytest.mark.parametrize("name", ["/nowhere/models/bert", "models/bert", "org/base"])
def test_an_absent_base_is_named_with_what_says_so(bert, tmp_path, hub, name):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"], base_name=name)
    refuses(tmp_path / "a", f"needs its base model, which .*adapter_config.json says is '{name}': .*no such folder")


class Trap:
    """Pickles as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_an_adapters_bin_is_refused_and_does_not_run(bert, tmp_path):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"], layout="bin")
    (tmp_path / "a" / "adapter_model.bin").write_bytes(pickle.dumps({"a": Trap(tmp_path / "sprung")}, protocol=2))
    refuses(tmp_path / "a", r"adapter_model\.bin holds something other than tensors.*refused")
    assert not (tmp_path / "sprung").exists()


def test_a_quantised_base_is_refused(bert, tmp_path):
    base = copied(bert.base, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"load_in_4bit": True}}))
    lora_adapter(tmp_path / "a", base, targets=["query"])
    refuses(tmp_path / "a", r"quantised \(quantization_config\).*before quantisation")


def test_peft_is_asked_for_where_it_is_needed_and_not_where_it_is_not(bert, tmp_path, monkeypatch):
    lora_adapter(tmp_path / "plain", bert.base, targets=["query"])
    lora_adapter(tmp_path / "dora", bert.base, targets=["query"], use_dora=True)
    monkeypatch.setitem(sys.modules, "peft", None)
    assert Checkpoint(tmp_path / "plain").shapes
    with pytest.raises(MissingPackageError, match="pip install peft"):
        _ = Checkpoint(tmp_path / "dora").shapes


#: Takes a regular expression engine without a limit of time years for the names of this model.
ENDLESS = r"(.+)(.+)(.+)(.+)(.+)(.+)(.+)(.+)\3\4\5\6\7[!?]"


def test_a_pattern_that_takes_too_long_is_named(bert, tmp_path):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"], rank_pattern={ENDLESS: 2})
    refuses(tmp_path / "a", r"the pattern .* takes more than 1 s to match '.*query'")


def test_modules_that_peft_merges_are_found_by_their_names_whatever_the_pattern(bert, tmp_path):
    pytest.importorskip("peft")
    options = {"targets": ["query"], "fan_in_fan_out": True}  # which PEFT alone merges
    lora_adapter(tmp_path / "named", bert.base, **options)
    lora_adapter(tmp_path / "endless", bert.base, **options, target_modules=ENDLESS)
    named, endless = Checkpoint(tmp_path / "named"), Checkpoint(tmp_path / "endless")
    for name in named.shapes:
        assert torch.equal(named.tensor(name), endless.tensor(name))
