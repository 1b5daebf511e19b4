"""Adapters that PEFT trained and saved, and the weights that PEFT itself merges them into."""

import copy
import warnings
from dataclasses import dataclass, field
from typing import Any

import peft
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.families import canonical, family_of, ties_embeddings
from testing import bert_triple, t5_triple


@dataclass(frozen=True)
class Case:
    """A class, what LoraConfig is given, and how many rows the embedding is resized to (None: as it is)."""

    model: str
    folder: str
    config: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None


MASKED, CAUSAL_LM, CLASSES = "AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForSequenceClassification"
SEQ2SEQ = "AutoModelForSeq2SeqLM"
CASES = {
    "query and value": Case(MASKED, "bert", {"target_modules": ["query", "value"]}),
    "patterns, rank-stabilised": Case(MASKED, "bert", {
        "target_modules": ["query", "value", "dense"], "use_rslora": True,
        "rank_pattern": {"query": 2, r"layer\.1\.attention\.output\.dense": 6},
        "alpha_pattern": {"encoder.layer.0.attention.self.value": 16, "^bert.encoder.layer.1.*query": 3}}),
    "DoRA": Case(MASKED, "bert", {"target_modules": "all-linear", "use_dora": True}),
    "all biases": Case(MASKED, "bert", {"target_modules": ["query"], "bias": "all"}),
    "biases of adapted modules": Case(MASKED, "bert", {"target_modules": ["query"], "bias": "lora_only"}),
    "bias of B": Case(MASKED, "bert", {"target_modules": ["query"], "lora_bias": True}),
    "Gaussian start": Case(MASKED, "bert", {"target_modules": ["query"], "init_lora_weights": "gaussian"}),
    "embedding": Case("AutoModel", "bert", {"target_modules": ["word_embeddings"], "task_type": "FEATURE_EXTRACTION"}),
    "embedding, DoRA": Case("AutoModel", "bert", {"target_modules": ["word_embeddings", "key"], "use_dora": True,
                                                  "task_type": "FEATURE_EXTRACTION"}),
    "embedding saved whole": Case("AutoModel", "bert", {"target_modules": ["query"],
                                                        "modules_to_save": ["word_embeddings"]}),
    "tokens by list": Case("AutoModel", "bert", {"target_modules": ["query"], "trainable_token_indices": [1, 9, 5]}),
    "tokens by name": Case(MASKED, "bert", {"target_modules": ["query"],
                                            "trainable_token_indices": {"word_embeddings": [7, 2]}}),
    "classifier": Case(CLASSES, "bert", {"target_modules": ["query"], "task_type": "SEQ_CLS"}),
    "RoBERTa's classifier": Case(CLASSES, "roberta", {"target_modules": ["query"], "task_type": "SEQ_CLS"}),
    "T5": Case(SEQ2SEQ, "t5", {"target_modules": ["q", "v", "wi"], "task_type": "SEQ_2_SEQ_LM"}),
    "T5, relative attention biases": Case(SEQ2SEQ, "t5", {"target_modules": ["q"], "task_type": "SEQ_2_SEQ_LM",
                                                          "bias": "all"}),
    "mT5 with its output": Case(SEQ2SEQ, "mt5", {"target_modules": ["q", "lm_head"], "task_type": "SEQ_2_SEQ_LM"}),
    "Llama": Case(CAUSAL_LM, "llama", {"target_modules": ["q_proj", "k_proj", "down_proj"], "task_type": "CAUSAL_LM"}),
    "Llama, embedding and output": Case(CAUSAL_LM, "llama", {
        "target_modules": ["q_proj", "embed_tokens", "lm_head"], "task_type": "CAUSAL_LM"}),
    "Llama, more rows": Case(CAUSAL_LM, "llama", {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}, 93),
    "Llama, more rows saved": Case(CAUSAL_LM, "llama", {
        "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "modules_to_save": ["embed_tokens", "lm_head"]}, 93),
    "Llama, more rows, tokens": Case(CAUSAL_LM, "llama", {
        "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "trainable_token_indices": [90, 91, 92]}, 93),
    "tied Llama, trained tokens": Case(CAUSAL_LM, "tied", {
        "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "trainable_token_indices": [1, 9]}),
    "tied Llama, embedding saved for both": Case(CAUSAL_LM, "tied", {
        "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "modules_to_save": ["embed_tokens"],
        "ensure_weight_tying": True}),
    "tied Llama, output saved for both": Case(CAUSAL_LM, "tied", {
        "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "modules_to_save": ["lm_head"],
        "ensure_weight_tying": True}),
    "tied Llama's classifier, embedding": Case(CLASSES, "tied", {
        "target_modules": ["q_proj"], "task_type": "SEQ_CLS", "modules_to_save": ["embed_tokens", "score"]}),
    "Llama's classifier": Case(CLASSES, "llama", {"target_modules": ["q_proj"], "task_type": "SEQ_CLS"}),
    "GPT-2 (inputs, outputs)": Case(CAUSAL_LM, "gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True,
                                                        "task_type": "CAUSAL_LM"}),
    "GPT-2, DoRA": Case(CAUSAL_LM, "gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True,
                                            "task_type": "CAUSAL_LM", "use_dora": True}),
}
REFUSED = {
    "tied output": (Case(SEQ2SEQ, "t5", {"target_modules": ["lm_head"], "task_type": "SEQ_2_SEQ_LM"}), "ties to"),
    "tied embedding": (Case(SEQ2SEQ, "t5", {"target_modules": ["shared"], "task_type": "SEQ_2_SEQ_LM"}), "ties to"),
    "tied embedding of an undeclared family": (
        Case(CAUSAL_LM, "gpt2", {"target_modules": ["wte"], "task_type": "CAUSAL_LM"}), "it adapts transformer.wte"),
    "one of two tied matrices saved": (Case(CAUSAL_LM, "tied", {
        "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "modules_to_save": ["embed_tokens"]}), "ties to"),
    "the other, of an undeclared family": (Case(CAUSAL_LM, "gpt2", {
        "target_modules": ["c_attn"], "fan_in_fan_out": True, "task_type": "CAUSAL_LM",
        "modules_to_save": ["lm_head"]}), "it adapts lm_head, .* ties to"),
    "one of T5's four saved": (Case(SEQ2SEQ, "t5", {
        "target_modules": ["q"], "task_type": "SEQ_2_SEQ_LM", "modules_to_save": ["shared"]}), "ties to"),
    "B·A on one of two tied": (Case(CAUSAL_LM, "tied", {
        "target_modules": ["embed_tokens"], "task_type": "CAUSAL_LM"}), "ties to"),
    "B·A on both": (Case(CAUSAL_LM, "tied", {
        "target_modules": ["embed_tokens"], "task_type": "CAUSAL_LM", "ensure_weight_tying": True}), "ties to"),
    "one of T5's four, where PEFT ties none": (Case(SEQ2SEQ, "t5", {
        "target_modules": ["q"], "task_type": "SEQ_2_SEQ_LM", "modules_to_save": ["shared"],
        "ensure_weight_tying": True}), "ties to"),
    "OLoRA": (Case(MASKED, "bert", {"target_modules": ["query"], "init_lora_weights": "olora"}), "'olora'"),
    "replicated layers": (Case(CAUSAL_LM, "llama", {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM",
                                                    "layer_replication": [[0, 2], [1, 2]]}), "layer_replication="),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Base models by family."""
    home = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    llama = transformers.LlamaConfig(vocab_size=90, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                     num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
    transformers.LlamaForCausalLM(llama).save_pretrained(home / "llama")
    llama.tie_word_embeddings = True
    transformers.LlamaForCausalLM(llama).save_pretrained(home / "tied")
    gpt2 = transformers.GPT2Config(vocab_size=90, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    transformers.GPT2LMHeadModel(gpt2).save_pretrained(home / "gpt2")
    return {"bert": bert_triple(home / "bert").base, "roberta": bert_triple(home / "roberta", family="roberta").base,
            "t5": t5_triple(home / "t5").base, "mt5": t5_triple(home / "mt5", kind="mt5").base,
            "llama": home / "llama", "tied": home / "tied", "gpt2": home / "gpt2"}


def loaded(case, folder):
    """The base model of a case, with the head and the rows that it was trained with."""
    labels = {"num_labels": 3} if case.model == CLASSES else {}
    model = getattr(transformers, case.model).from_pretrained(folder, **labels)
    if case.rows:
        model.resize_token_embeddings(case.rows)
    return model


def trained(case, folder, out):
    """Saves a randomly trained adapter with PEFT and returns what PEFT merges it into, as a state dict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = loaded(case, folder)
        pristine = copy.deepcopy(model)
        adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=7, **case.config))
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) / 10)
        adapted.save_pretrained(out)
        return PeftModel.from_pretrained(pristine, out).merge_and_unload().state_dict()


@pytest.mark.parametrize("name", CASES)
def test_the_weights_are_those_that_peft_merges(folders, tmp_path, name):
    case = CASES[name]
    merged = trained(case, folders[case.folder], tmp_path / "a")
    checkpoint, base = Checkpoint(tmp_path / "a"), Checkpoint(folders[case.folder])
    family, tied = family_of(checkpoint.config["model_type"]), ties_embeddings(checkpoint.config)
    expected = {canonical(key, family, tied): tensor for key, tensor in merged.items()}
    # What PEFT's class has and the published base lacks is a pooler that nobody trained, and GPT-2's tied output.
    assert set(expected) - set(checkpoint.shapes) <= {"pooler.dense.weight", "pooler.dense.bias", "lm_head.weight"}
    compared = set(expected) & set(checkpoint.shapes)
    for key in compared:
        assert torch.allclose(checkpoint.tensor(key).float(), expected[key], rtol=1e-6, atol=1e-6), key
    assert len(compared) >= 20
    changed = [key for key in compared if checkpoint.shapes[key] != base.shapes.get(key)
               or not torch.equal(checkpoint.tensor(key), base.tensor(key))]
    assert len(changed) >= 1
    if case.rows:
        assert checkpoint.config["vocab_size"] == case.rows


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_set_of_weights_cannot_hold_is_refused(folders, tmp_path, name):
    case, message = REFUSED[name]
    trained(case, folders[case.folder], tmp_path / "a")
    with pytest.raises(CheckpointError, match=message):
        _ = Checkpoint(tmp_path / "a").shapes


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
def test_another_kind_of_adapter_is_refused(folders, tmp_path):
    model = transformers.AutoModelForMaskedLM.from_pretrained(folders["bert"])
    config = peft.IA3Config(target_modules=["query", "output.dense"], feedforward_modules=["output.dense"])
    get_peft_model(model, config).save_pretrained(tmp_path / "a")
    with pytest.raises(CheckpointError, match="peft_type='IA3' is not supported"):
        _ = Checkpoint(tmp_path / "a").shapes


def test_the_tokenizer_that_peft_users_save_beside_an_adapter_is_read(folders, tmp_path):
    trained(CASES["query and value"], folders["bert"], tmp_path / "a")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["bert"])
    tokenizer.add_tokens(["[GENE]"])
    tokenizer.save_pretrained(tmp_path / "a")
    checkpoint = Checkpoint(tmp_path / "a")
    assert checkpoint.vocabulary == checkpoint.tokenizer().get_vocab() == tokenizer.get_vocab()
    assert "[GENE]" in checkpoint.vocabulary
