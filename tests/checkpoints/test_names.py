"""One canonical name per parameter: prefixes, legacy names, tied groups, buffers, strays, layers."""

import pytest
import torch
from safetensors.torch import save_file

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.families import canonical, family_of, is_head, layer_of, ties_embeddings
from testing import bert_triple, t5_triple
from tests.checkpoints.by_hand import STRAY, copied, parameters, raw, rewrite, rewrite_config


@pytest.mark.parametrize(("model_type", "tied", "name", "expected"), [
    ("bert", True, "bert.encoder.layer.3.output.LayerNorm.gamma", "encoder.layer.3.output.LayerNorm.weight"),
    ("bert", True, "embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
    ("bert", True, "cls.predictions.transform.LayerNorm.gamma", "cls.predictions.transform.LayerNorm.weight"),
    ("bert", True, "bert.pooler.dense.weight", "pooler.dense.weight"),
    ("bert", True, "cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"),
    ("bert", False, "cls.predictions.decoder.weight", "cls.predictions.decoder.weight"),
    ("bert", True, "cls.predictions.decoder.bias", "cls.predictions.bias"),
    ("bert", True, "classifier.weight", "classifier.weight"),
    ("roberta", True, "roberta.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
    ("roberta", True, "lm_head.decoder.weight", "embeddings.word_embeddings.weight"),
    ("roberta", True, "lm_head.layer_norm.weight", "lm_head.layer_norm.weight"),
    ("distilbert", True, "distilbert.transformer.layer.0.ffn.lin1.bias", "transformer.layer.0.ffn.lin1.bias"),
    ("distilbert", True, "vocab_projector.weight", "embeddings.word_embeddings.weight"),
    ("t5", True, "encoder.embed_tokens.weight", "shared.weight"),
    ("t5", True, "lm_head.weight", "shared.weight"),
    ("mt5", False, "lm_head.weight", "lm_head.weight"),
    ("mt5", False, "decoder.embed_tokens.weight", "shared.weight"),
    ("llama", False, "model.layers.11.mlp.up_proj.weight", "layers.11.mlp.up_proj.weight"),
    ("llama", True, "lm_head.weight", "embed_tokens.weight"),
    ("bert", True, "module.0.auto_model.bert.encoder.layer.0.output.dense.bias", "encoder.layer.0.output.dense.bias"),
])
def test_canonical_names_are_the_bare_backbones(model_type, tied, name, expected):
    assert canonical(name, family_of(model_type), tied) == expected


@pytest.mark.parametrize(("model_type", "prefix"), [("deberta-v2", "deberta."), ("albert", "albert.")])
def test_an_undeclared_family_is_looked_up_in_transformers(model_type, prefix):
    assert family_of(model_type).prefix == prefix


@pytest.mark.parametrize(("config", "expected"), [
    ({"model_type": "t5"}, True), ({"model_type": "mt5"}, False), ({"model_type": "bert"}, True),
    ({"model_type": "llama"}, False), ({"model_type": "llama", "tie_word_embeddings": True}, True),
    ({"model_type": "t5", "tie_word_embeddings": False}, False),
])
def test_the_config_says_whether_embeddings_are_tied_else_the_family(config, expected):
    assert ties_embeddings(config) is expected


@pytest.mark.parametrize(("name", "expected"), [
    ("encoder.layer.11.attention.self.query.weight", ("encoder", 11)),
    ("transformer.layer.5.ffn.lin1.weight", ("", 5)),
    ("encoder.block.0.layer.1.DenseReluDense.wi.weight", ("encoder", 0)),
    ("decoder.block.10.layer.2.DenseReluDense.wo.weight", ("decoder", 10)),
    ("layers.31.mlp.up_proj.weight", ("", 31)),
    ("h.7.attn.c_attn.weight", ("", 7)),
    ("embeddings.word_embeddings.weight", ("embeddings", None)),
    ("embeddings.LayerNorm.bias", ("embeddings", None)),
    ("shared.weight", ("embeddings", None)),
    ("embed_tokens.weight", ("embeddings", None)),
    ("cls.predictions.transform.dense.weight", ("head", None)),
    ("pooler.dense.bias", ("head", None)),
    ("lm_head.weight", ("head", None)),
    ("encoder.final_layer_norm.weight", ("other", None)),
    ("norm.weight", ("other", None)),
])
def test_a_parameters_layer_is_read_from_its_name(name, expected):
    assert layer_of(name) == expected


def test_heads_are_told_from_the_backbone_by_the_first_part_of_the_name(bert):
    heads = {name for name in Checkpoint(bert.base).shapes if is_head(name)}
    assert heads == {name.removeprefix("bert.") for name in raw(bert.base) if name.startswith("cls.")}
    assert is_head("pooler.dense.weight") and not is_head("encoder.pooler.weight")


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_masked_files_with_and_without_the_repeated_decoder_are_the_same_checkpoint(tmp_path, family):
    plain = Checkpoint(bert_triple(tmp_path / "plain", family=family).base)
    repeated = Checkpoint(bert_triple(tmp_path / "repeated", family=family, duplicated=True).base)
    assert len(repeated.raw) > len(plain.raw)
    assert plain.shapes == repeated.shapes
    assert all(torch.equal(plain.tensor(name), repeated.tensor(name)) for name in plain.shapes)


@pytest.mark.parametrize("name", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"])
def test_a_tied_t5_matrix_with_other_values_is_an_error(tmp_path, name):
    folder = t5_triple(tmp_path, duplicated=True).ranker
    assert len(Checkpoint(folder).names.parameters["shared.weight"]) == 4

    def differ(tensors):
        tensors[name][3, 5] += 1
        return tensors

    rewrite(folder, differ)
    with pytest.raises(CheckpointError, match=rf"'{name}'.*shared\.weight.*different values|"
                                              rf"'shared\.weight' and '{name}'"):
        Checkpoint(folder).tensor("shared.weight")


@pytest.mark.parametrize("layout", ["safetensors", "bin", "sharded"])
@pytest.mark.parametrize("says", [True, False, None])
def test_an_mt5_output_matrix_in_the_files_is_its_own_whatever_the_config_says(tmp_path, layout, says):
    # transformers 5 writes tie_word_embeddings: true beside it; 4.57 would then tie it away.
    folder = t5_triple(tmp_path, kind="mt5", layout=layout).ranker
    rewrite_config(folder, tie_word_embeddings=says)
    checkpoint, held = Checkpoint(folder), raw(folder)
    assert not ties_embeddings(checkpoint.config)
    for name in ("lm_head.weight", "shared.weight"):
        assert torch.equal(checkpoint.tensor(name), held[name])
    assert not torch.equal(held["lm_head.weight"], held["shared.weight"])


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
@pytest.mark.parametrize(("says", "tied"), [(True, True), (False, False)])
def test_an_mt5_without_an_output_matrix_is_tied_only_where_its_config_says_so(tmp_path, layout, says, tied):
    folder = t5_triple(tmp_path, kind="mt5", layout=layout).ranker
    held = {name: tensor for name, tensor in raw(folder).items() if name != "lm_head.weight"}
    if layout == "bin":
        torch.save(held, folder / "pytorch_model.bin")
    else:
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    rewrite_config(folder, tie_word_embeddings=says)
    checkpoint = Checkpoint(folder)
    assert "lm_head.weight" not in checkpoint.shapes and ties_embeddings(checkpoint.config) is tied


@pytest.mark.parametrize("kind", ["mt5", "t5"])
def test_what_the_installed_transformers_saves_is_the_same_checkpoint(tmp_path, kind):
    from transformers import AutoModelForSeq2SeqLM

    folder = t5_triple(tmp_path, kind=kind).ranker
    if kind == "t5":  # version 1.1: an output matrix of its own, and no scaling before it
        torch.manual_seed(0)
        rewrite(folder, lambda tensors: tensors | {"lm_head.weight": torch.randn_like(tensors["shared.weight"])})
        rewrite_config(folder, tie_word_embeddings=False)
    AutoModelForSeq2SeqLM.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    before, after = Checkpoint(folder), Checkpoint(tmp_path / "saved")
    assert not ties_embeddings(before.config) and not ties_embeddings(after.config)
    assert before.shapes == after.shapes
    assert all(torch.equal(before.tensor(name), after.tensor(name)) for name in before.shapes)


def test_a_tied_bert_decoder_with_other_values_is_an_error_and_an_untied_one_a_parameter(tmp_path):
    folder = bert_triple(tmp_path, duplicated=True).base

    def differ(tensors):
        tensors["cls.predictions.decoder.weight"] *= 2
        return tensors

    rewrite(folder, differ)
    with pytest.raises(CheckpointError, match="cls.predictions.decoder.weight.*different values"):
        Checkpoint(folder).tensor("embeddings.word_embeddings.weight")
    rewrite_config(folder, tie_word_embeddings=False)
    checkpoint = Checkpoint(folder)
    assert torch.equal(checkpoint.tensor("cls.predictions.decoder.weight"),
                       2 * checkpoint.tensor("embeddings.word_embeddings.weight"))


def test_a_layer_norm_under_its_old_and_new_name_must_agree(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "both")
    tensors = raw(folder)
    old, new = "embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"
    save_file(tensors | {old: tensors[new].clone()}, folder / "model.safetensors")
    assert torch.equal(Checkpoint(folder).tensor(new), tensors[new])
    save_file(tensors | {old: tensors[new] + 1}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="gamma"):
        Checkpoint(folder).tensor(new)


def test_position_ids_and_rotary_frequencies_are_buffers(tmp_path):
    made = bert_triple(tmp_path, position_ids=True)
    assert Checkpoint(made.ranker).names.buffers == ("embeddings.position_ids",)
    assert Checkpoint(made.base).names.buffers == ("bert.embeddings.position_ids",)
    assert not any("position_ids" in name for name in Checkpoint(made.base).shapes)
    assert "embeddings.position_embeddings.weight" in Checkpoint(made.base).shapes
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_file({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2), "model.norm.weight": torch.ones(2)},
              folder / "model.safetensors")
    assert set(Checkpoint(folder).shapes) == {"norm.weight"}
    assert Checkpoint(folder).names.buffers == ("model.layers.0.self_attn.rotary_emb.inv_freq",)


def test_the_stray_t5_parameter_is_ignored_and_its_true_namesake_is_not(tmp_path):
    checkpoint = Checkpoint(t5_triple(tmp_path, stray=True).ranker)
    assert checkpoint.names.ignored == (STRAY,) and STRAY not in checkpoint.shapes
    assert "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight" in checkpoint.shapes
    assert set(checkpoint.shapes) == set(parameters(checkpoint.folder))
