"""Which scorer a folder needs is what its files say, and an error where they do not."""

import json

import pytest
import torch
from safetensors.torch import save_file

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers import BiEncoder, Causal, CrossEncoder, ScorerError, Seq2Seq, detect
from testing import bert_triple, cross_encoder_triple, llama_triple, t5_triple
from tests.scorers.reference import edit_json, scorer_of


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return t5_triple(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return llama_triple(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return cross_encoder_triple(tmp_path_factory.mktemp("cross-encoder"))


@pytest.mark.parametrize(("triple", "name", "scorer"), [
    ("bert", "bi-encoder", BiEncoder), ("cross_encoder", "cross-encoder", CrossEncoder), ("t5", "seq2seq", Seq2Seq),
    ("llama", "causal", Causal)])
def test_the_files_say_which_scorer(triple, name, scorer, request):
    folder = request.getfixturevalue(triple).ranker
    assert detect(Checkpoint(folder)) == name
    assert isinstance(scorer_of(folder), scorer) and isinstance(scorer_of(folder, name), scorer)


@pytest.mark.parametrize(("model_type", "architecture", "pooled", "expected"), [
    ("llama", "LlamaForCausalLM", False, "causal"),
    ("mistral", "MistralForCausalLM", False, "causal"),
    ("qwen2", None, False, "causal"),
    ("mistral", "MistralModel", True, "bi-encoder"),
    ("qwen2", "Qwen2ForCausalLM", True, "bi-encoder"),
    ("llama", "LlamaForSequenceClassification", False, "cross-encoder"),
    ("roberta", "RobertaForSequenceClassification", False, "cross-encoder"),
    ("bert", "BertForSequenceClassification", True, "bi-encoder"),
    ("mt5", "MT5ForConditionalGeneration", False, "seq2seq"),
    ("t5", "T5EncoderModel", True, "bi-encoder"),
])
def test_a_pooling_comes_before_a_head_and_a_head_before_the_model_type(model_type, architecture, pooled, expected,
                                                                        tmp_path):
    config = {"model_type": model_type} | ({"architectures": [architecture]} if architecture else {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"norm.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    if pooled:
        modules = [{"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
                   for place, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling")])]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert detect(Checkpoint(tmp_path)) == expected


def test_a_sentence_transformer_without_a_pooling_says_so(tmp_path):
    folder = bert_triple(tmp_path).ranker
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(ScorerError, match="lists no Pooling"):
        scorer_of(folder)


def test_a_folder_that_does_not_say_is_an_error_with_the_choices(bert, cross_encoder):
    expected = "'bert' model without modules.json or a classification head.*scorer=.*bi-encoder, cross-encoder, seq2seq"
    for folder in (bert.base, cross_encoder.base):
        with pytest.raises(ScorerError, match=expected):
            scorer_of(folder)


def test_a_scorer_that_does_not_suit_the_model_is_an_error(bert, t5):
    with pytest.raises(ScorerError, match="no AutoModelForSeq2SeqLM for the model type 'bert'"):
        scorer_of(bert.ranker, "seq2seq")
    with pytest.raises(ScorerError, match="choose 'auto' or one of bi-encoder, cross-encoder, seq2seq, causal"):
        scorer_of(t5.ranker, "tri-encoder")


def test_a_folder_without_what_its_class_needs_is_an_error(tmp_path):
    folder = bert_triple(tmp_path).ranker
    edit_json(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(ScorerError, match=r"lacks 16 parameters of BertModel: encoder\.layer\.2"):
        scorer_of(folder)


def test_prediction_tokens_of_another_scorer_are_refused(bert):
    with pytest.raises(ScorerError, match=r"token_true='▁yes': a bi-encoder has no prediction tokens"):
        scorer_of(bert.ranker, token_true="▁yes")
