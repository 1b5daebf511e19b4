"""An adapter folder is its base model with scale·B·A added, computed by hand here from the files' tensors."""

import json
import math
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file

from pyterrier_taskarith.checkpoints import Checkpoint
from testing import bert_triple, lora_adapter, t5_triple
from tests.checkpoints.by_hand import copied, raw, rewrite_config, same_bits

QUERY = "bert.encoder.layer.1.attention.self.query"


@pytest.fixture(scope="module")
def base(bert):
    """A masked BERT; read only."""
    return bert.base


def by_hand(base, adapter, module, scale):
    """base + scale·B·A of one module, in float64, rounded once."""
    update = adapter[f"{module}.lora_B.weight"].double() @ adapter[f"{module}.lora_A.weight"].double()
    return (raw(base)[f"{module}.weight"].double() + scale * update).float()


def close(ours, theirs):
    """Whether float32 sums agree: to a few units in the last place of values near one."""
    return ours.dtype == torch.float32 and torch.allclose(ours, theirs, rtol=0, atol=5e-7)


def test_an_adapted_weight_is_the_bases_plus_alpha_over_r_times_b_a_and_the_rest_is_the_bases(base, tmp_path):
    adapter = lora_adapter(tmp_path / "a", base, targets=["query"], rank=4, alpha=6)
    checkpoint, plain = Checkpoint(tmp_path / "a"), Checkpoint(base)
    adapted = {f"encoder.layer.{layer}.attention.self.query.weight" for layer in (0, 1)}
    assert checkpoint.shapes == plain.shapes and checkpoint.config == plain.config
    assert checkpoint.vocabulary == plain.vocabulary
    for name in plain.shapes:
        if name in adapted:
            expected = by_hand(base, adapter, f"bert.{name.removesuffix('.weight')}", 6 / 4)
            assert close(checkpoint.tensor(name), expected) and not torch.equal(expected, plain.tensor(name))
        else:
            assert same_bits(checkpoint.tensor(name), plain.tensor(name))
    checkpoint.close()
    assert close(checkpoint.tensor("encoder.layer.1.attention.self.query.weight"),
                 by_hand(base, adapter, QUERY, 6 / 4))


@pytest.mark.parametrize("layout", ["safetensors", "sharded", "bin", "sharded_bin"])
@pytest.mark.parametrize("adapter_layout", ["safetensors", "bin"])
def test_base_and_adapter_may_lie_in_any_layout(tmp_path, layout, adapter_layout):
    made = bert_triple(tmp_path, layout=layout, shards=3)
    adapter = lora_adapter(tmp_path / "a", made.base, targets=["query"], layout=adapter_layout)
    value = Checkpoint(tmp_path / "a").tensor("encoder.layer.1.attention.self.query.weight")
    assert close(value, by_hand(made.base, adapter, QUERY, 2))


@pytest.mark.parametrize(("settings", "scale"), [
    ({"use_rslora": True}, 6 / math.sqrt(4)),
    ({"alpha_pattern": {"query": 10}}, 10 / 4),
    ({"rank_pattern": {"query": 2}}, 6 / 2),
    ({"rank_pattern": {"query": 2}, "alpha_pattern": {r"layer\.[12]\.attention\.self\.query": 9}, "use_rslora": True},
     9 / math.sqrt(2)),
    ({"alpha_pattern": {"uery": 10}}, 6 / 4),                           # a pattern begins where a part of a name does
    ({"alpha_pattern": {"^bert.encoder.layer.1.*": 3, "query": 10}}, 3 / 4),  # the first that matches
])
def test_the_scale_follows_rank_and_alpha_and_their_patterns(base, tmp_path, settings, scale):
    adapter = lora_adapter(tmp_path / "a", base, targets=["query"], rank=4, alpha=6, **settings)
    value = Checkpoint(tmp_path / "a").tensor("encoder.layer.1.attention.self.query.weight")
    assert close(value, by_hand(base, adapter, QUERY, scale))


def test_sums_are_float32_whatever_the_files_dtype_and_the_published_dtype_is_the_bases(tmp_path):
    made = bert_triple(tmp_path, dtype=torch.bfloat16)
    adapter = lora_adapter(tmp_path / "a", made.base, targets=["query"], dtype=torch.float16)
    checkpoint = Checkpoint(tmp_path / "a")
    name = "encoder.layer.1.attention.self.query.weight"
    assert checkpoint.dtype(name) == torch.float32 and checkpoint.stored_dtype(name) == torch.bfloat16
    assert close(checkpoint.tensor(name), by_hand(made.base, adapter, QUERY, 2))
    other = "encoder.layer.1.attention.self.key.weight"
    assert checkpoint.dtype(other) == checkpoint.stored_dtype(other) == checkpoint.tensor(other).dtype == torch.bfloat16


def test_an_adapter_of_a_head_model_fits_a_bare_base_and_the_other_way_round(bert, tmp_path):
    trained_on_masked = lora_adapter(tmp_path / "a", bert.ranker, targets=["query"], prefix="bert.")
    value = Checkpoint(tmp_path / "a").tensor("encoder.layer.1.attention.self.query.weight")
    update = trained_on_masked[f"{QUERY}.lora_B.weight"] @ trained_on_masked[f"{QUERY}.lora_A.weight"]
    assert close(value, raw(bert.ranker)[f"{QUERY.removeprefix('bert.')}.weight"] + 2 * update)
    names = {name.removeprefix("bert."): tensor for name, tensor in trained_on_masked.items()}
    lora_adapter(tmp_path / "b", bert.base, targets=[], extra=names)
    value = Checkpoint(tmp_path / "b").tensor("encoder.layer.1.attention.self.query.weight")
    assert close(value, raw(bert.base)[f"{QUERY}.weight"] + 2 * update)


def test_an_adapted_matrix_that_the_base_repeats_is_adapted_in_both_places(tmp_path):
    made = bert_triple(tmp_path, duplicated=True)
    rows, width = raw(made.base)["bert.embeddings.word_embeddings.weight"].shape
    a, b = torch.randn(4, rows), torch.randn(width, 4)
    stem = "bert.embeddings.word_embeddings.lora_embedding"
    lora_adapter(tmp_path / "a", made.base, targets=[], extra={f"{stem}_A": a, f"{stem}_B": b},
                 target_modules=["word_embeddings"])
    checkpoint = Checkpoint(tmp_path / "a")
    assert len(checkpoint.names.parameters["embeddings.word_embeddings.weight"]) == 2
    expected = raw(made.base)["bert.embeddings.word_embeddings.weight"].double() + 2 * (b.double() @ a.double()).T
    assert torch.allclose(checkpoint.tensor("embeddings.word_embeddings.weight").double(), expected, atol=5e-6)


def test_a_classifier_that_the_adapter_brings_is_a_parameter_and_the_config_says_so(base, tmp_path):
    head = {"classifier.weight": torch.randn(3, 32), "classifier.bias": torch.randn(3)}
    lora_adapter(tmp_path / "a", base, targets=["query"], extra=head, task_type="SEQ_CLS",
                 modules_to_save=["classifier", "score"])
    checkpoint = Checkpoint(tmp_path / "a")
    assert all(same_bits(checkpoint.tensor(name), tensor) for name, tensor in head.items())
    assert checkpoint.location("classifier.weight") is not None
    assert checkpoint.config["architectures"] == ["BertForSequenceClassification"]
    assert len(checkpoint.config["id2label"]) == 3 and checkpoint.config["hidden_size"] == 32


def test_added_tokens_come_with_the_adapter_tokenizer_embedding_and_vocabulary_size(tmp_path):
    plain = bert_triple(tmp_path / "plain")
    extended = bert_triple(tmp_path / "extended", extra_tokens={"base": ["[GENE]", "[DRUG]"]})
    name = "bert.embeddings.word_embeddings.weight"
    rows = torch.cat([raw(plain.base)[name], torch.randn(2, 32)])
    bias = torch.cat([raw(plain.base)["cls.predictions.bias"], torch.randn(2)])
    lora_adapter(tmp_path / "a", plain.base, targets=["query"], extra={name: rows, "cls.predictions.bias": bias})
    checkpoint = Checkpoint(tmp_path / "a")
    assert checkpoint.tokenizer_folder == plain.base
    for path in extended.base.glob("*token*"):
        shutil.copyfile(path, tmp_path / "a" / path.name)
    checkpoint = Checkpoint(tmp_path / "a")
    assert same_bits(checkpoint.tensor("embeddings.word_embeddings.weight"), rows)
    assert checkpoint.config["vocab_size"] == len(rows) == Checkpoint(plain.base).config["vocab_size"] + 2
    assert checkpoint.vocabulary == Checkpoint(extended.base).vocabulary
    assert checkpoint.tokenizer_folder == tmp_path / "a"
    assert checkpoint.tokenizer().convert_tokens_to_ids("[DRUG]") == len(rows) - 1
    assert set(checkpoint.folders) == {plain.base, tmp_path / "a"}


def test_the_base_is_found_beside_the_adapter_at_a_path_or_by_hub_id(bert, tmp_path, hub, monkeypatch):
    from tests.checkpoints.by_hand import hub_cache

    hub_cache(hub, "org/base", bert.base, commit="0" * 40)
    other = bert_triple(tmp_path / "other", seed=1)
    hub_cache(hub, "org/base", other.base, commit="1" * 40, branch="v2")
    (tmp_path / "a").mkdir()
    copied(bert.base, tmp_path / "a" / "models" / "base")
    monkeypatch.chdir(tmp_path)
    for name, revision, expected in ((str(bert.base), None, bert.base), ("models/base", None, bert.base),
                                     ("org/base", None, bert.base), ("org/base", "v2", other.base)):
        adapter = lora_adapter(tmp_path / "a", bert.base, targets=["query"], base_name=name, revision=revision)
        value = Checkpoint("a").tensor("encoder.layer.1.attention.self.query.weight")
        assert close(value, by_hand(expected, adapter, QUERY, 2)), name


def test_the_adapters_file_can_be_named_and_beside_a_models_weights_must_be(bert, tmp_path):
    folder = copied(bert.base, tmp_path / "both")
    adapter = lora_adapter(folder, bert.base, targets=["query"])
    name = "encoder.layer.1.attention.self.query.weight"
    assert close(Checkpoint(folder / "adapter_model.safetensors").tensor(name), by_hand(bert.base, adapter, QUERY, 2))
    assert same_bits(Checkpoint(folder / "model.safetensors").tensor(name), raw(bert.base)[f"bert.{name}"])


def test_a_sentence_transformer_may_hold_an_adapter_as_its_transformer(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "st")
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    adapter = lora_adapter(folder, bert.ranker, targets=["query"])
    checkpoint = Checkpoint(folder)
    assert checkpoint.located.root == folder and checkpoint.folder == folder
    assert checkpoint.config == Checkpoint(bert.ranker).config
    module = QUERY.removeprefix("bert.")
    assert close(checkpoint.tensor(f"{module}.weight"), by_hand(bert.ranker, adapter, module, 2))


def test_an_adapter_over_a_sentence_transformer_keeps_its_modules(bert, tmp_path):
    lora_adapter(tmp_path / "a", bert.ranker, targets=["query"])
    assert (Checkpoint(tmp_path / "a").located.root / "modules.json").is_file()


def test_the_fingerprint_changes_with_adapter_scale_and_base(bert, tmp_path):
    made = {}
    for label, where, options in (("one", bert.base, {}), ("same", bert.base, {}), ("weights", bert.base, {"seed": 1}),
                                  ("scale", bert.base, {"alpha": 9}), ("base", bert.domain, {})):
        lora_adapter(tmp_path / label, where, targets=["query"], base_name=str(bert.base), **options)
        about = json.loads((tmp_path / label / "adapter_config.json").read_text())
        about["base_model_name_or_path"] = str(copied(where, tmp_path / label / "models"))
        (tmp_path / label / "adapter_config.json").write_text(json.dumps(about | {"base_model_name_or_path": "models"}))
        made[label] = Checkpoint(tmp_path / label).fingerprint
    assert made["one"] == made["same"] and len(set(made.values())) == 4


def test_files_are_the_bases_and_the_adapters_and_places_are_told_for_what_it_leaves_alone(base, tmp_path):
    lora_adapter(tmp_path / "a", base, targets=["query"])
    checkpoint = Checkpoint(tmp_path / "a")
    assert [file.path for file in checkpoint.files] == [base / "model.safetensors",
                                                        tmp_path / "a" / "adapter_model.safetensors"]
    assert checkpoint.location("encoder.layer.1.attention.self.query.weight") is None
    assert checkpoint.location("encoder.layer.1.attention.self.key.weight").path == base / "model.safetensors"
    assert pickle.loads(pickle.dumps(checkpoint)).fingerprint == checkpoint.fingerprint


def test_a_matrix_of_its_own_beside_the_embedding_may_be_adapted(tmp_path):
    made = t5_triple(tmp_path, kind="mt5")
    adapter = lora_adapter(tmp_path / "a", made.base, targets=["lm_head"], task_type="SEQ_2_SEQ_LM")
    checkpoint = Checkpoint(tmp_path / "a")
    assert close(checkpoint.tensor("lm_head.weight"), by_hand(made.base, adapter, "lm_head", 2))
    assert same_bits(checkpoint.tensor("shared.weight"), raw(made.base)["shared.weight"])


def test_a_tied_matrix_saved_whole_under_two_names_is_one_parameter(tmp_path):
    made = bert_triple(tmp_path, duplicated=True)
    embedding = torch.randn(raw(made.base)["bert.embeddings.word_embeddings.weight"].shape)
    lora_adapter(tmp_path / "a", made.base, targets=["query"], extra={
        "bert.embeddings.word_embeddings.weight": embedding, "cls.predictions.decoder.weight": embedding.clone()})
    assert same_bits(Checkpoint(tmp_path / "a").tensor("embeddings.word_embeddings.weight"), embedding)


def test_the_config_of_the_base_decides_what_is_tied(tmp_path):
    made = bert_triple(tmp_path, duplicated=True)
    rewrite_config(made.base, tie_word_embeddings=False)
    adapter = lora_adapter(tmp_path / "a", made.base, targets=["decoder"])
    assert "cls.predictions.decoder.lora_A.weight" in adapter
    checkpoint = Checkpoint(tmp_path / "a")
    assert not torch.equal(checkpoint.tensor("cls.predictions.decoder.weight"),
                           checkpoint.tensor("embeddings.word_embeddings.weight"))


def test_fan_in_fan_out_is_ignored_for_weights_that_do_not_lie_so_as_peft_does(base, tmp_path):
    adapter = lora_adapter(tmp_path / "a", base, targets=["query"], fan_in_fan_out=True)
    value = Checkpoint(tmp_path / "a").tensor("encoder.layer.1.attention.self.query.weight")
    assert close(value, by_hand(base, adapter, QUERY, 2))


def test_the_adapters_file_is_what_the_factory_says(base, tmp_path):
    made = lora_adapter(tmp_path / "a", base, targets=["query", "value"], rank_pattern={"value": 2})
    held = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert held.keys() == {f"base_model.model.{name}" for name in made} and len(held) == 8
    assert held[f"base_model.model.{QUERY}.lora_A.weight"].shape == (4, 32)
    assert made[f"{QUERY.replace('query', 'value')}.lora_B.weight"].shape == (32, 2)
