"""Model types that families.py does not declare: transformers' classes say which matrix has one row per token."""

import json

import pytest
import torch
import transformers

from pyterrier_taskarith.arithmetic import TaskVector, make_plan
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.families import FAMILIES, family_of
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._scorer import ScorerOptions
from tests.checkpoints.by_hand import raw, rewrite

SIZES = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
         "num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
CLASSES = {
    "ModernBertForMaskedLM": transformers.ModernBertConfig(**SIZES, cls_token_id=1, sep_token_id=2),
    "Qwen3ForCausalLM": transformers.Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True),
    "GemmaForCausalLM": transformers.GemmaConfig(**SIZES, num_key_value_heads=1, head_dim=8),
    "DebertaV2ForMaskedLM": transformers.DebertaV2Config(**SIZES),
    "XLNetLMHeadModel": transformers.XLNetConfig(vocab_size=60, d_model=16, n_layer=1, n_head=2, d_inner=16),
    "AlbertForMaskedLM": transformers.AlbertConfig(**SIZES, embedding_size=8),
    "BartForConditionalGeneration": transformers.BartConfig(
        vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32),
}


def saved(name, folder, tokens=range(60), seed=0):
    torch.manual_seed(seed)
    model = getattr(transformers, name)(CLASSES[name])
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"t{token}\n" for token in tokens), encoding="utf-8")
    return model


@pytest.mark.parametrize("name", CLASSES)
def test_the_matrices_of_tokens_are_those_that_the_class_ties(name):
    model = getattr(transformers, name)(CLASSES[name])
    family = family_of(CLASSES[name].model_type)
    assert CLASSES[name].model_type not in FAMILIES
    parameters = {known.removeprefix(family.prefix): value for known, value in
                  model.named_parameters(remove_duplicate=False)}
    assert parameters[family.embedding] is model.get_input_embeddings().weight
    assert parameters[family.output] is model.get_output_embeddings().weight
    assert all(parameters[held] is parameters[first] for held, first in family.tied.items())


@pytest.mark.parametrize("name", CLASSES)
def test_other_tokens_in_as_many_rows_are_refused(name, tmp_path):
    for role, tokens in (("T", range(60)), ("D", range(1000, 1060)), ("B", range(60))):
        (tmp_path / role).mkdir()
        saved(name, tmp_path / role, tokens, ord(role))
    ranker, vector = Checkpoint(tmp_path / "T"), TaskVector(tmp_path / "D", tmp_path / "B")
    with pytest.raises(CheckpointError, match=r"tokenizers of .* disagree"):
        make_plan(ranker, {"v": vector})


@pytest.mark.parametrize("name, config", [
    ("BartForSequenceClassification", CLASSES["BartForConditionalGeneration"]),
    ("T5ForSequenceClassification", transformers.T5Config(
        vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0))])
def test_a_classifier_is_loaded_from_one_copy_of_its_tied_matrices(name, config, tmp_path):
    reference = getattr(transformers, name)(config).eval()
    reference.save_pretrained(tmp_path)
    assert sum("embed_tokens" in known or "shared" in known for known in raw(tmp_path)) == 1
    module = build_module(Checkpoint(tmp_path), transformers.AutoModelForSequenceClassification,
                          ScorerOptions(device=torch.device("cpu"), dtype=torch.float32))
    ids = torch.tensor([[5, 6, 7, config.eos_token_id]])
    with torch.no_grad():
        assert torch.equal(module(input_ids=ids).logits, reference(input_ids=ids).logits)


PACKED = {
    "GPTQ, AWQ": ("qweight", torch.zeros(2, 16, dtype=torch.int32), "quantize_config.json"),
    "LLM.int8": ("weight", torch.zeros(16, 16, dtype=torch.int8), ""),
    "bitsandbytes, 4 bits": ("weight", torch.zeros(128, 1, dtype=torch.uint8), ""),
    "MXFP4": ("weight_blocks", torch.zeros(4, 16, 2, 16, dtype=torch.uint8), "quant_config.json"),
    "8-bit floats": ("weight", torch.zeros(16, 16).to(torch.float8_e4m3fn), ""),
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("role", ["T", "D", "B"])
def test_packed_weights_are_refused_by_name_though_the_configuration_does_not_say_so(role, packing, tmp_path):
    name = "ModernBertForMaskedLM"
    for folder in "TDB":
        (tmp_path / folder).mkdir()
        saved(name, tmp_path / folder, seed=ord(folder))
    ending, packed, beside = PACKED[packing]
    stem = "model.layers.0.attn.Wo."
    rewrite(tmp_path / role, lambda tensors: {known: value for known, value in tensors.items() if known != stem +
                                              "weight"} | {stem + ending: packed})
    if beside:
        (tmp_path / role / beside).write_text(json.dumps({"bits": 4}))
    with pytest.raises(CheckpointError, match=rf"{stem}{ending}'.*(quantised|quantisation)"):
        make_plan(Checkpoint(tmp_path / "T"), {"v": TaskVector(tmp_path / "D", tmp_path / "B")})
