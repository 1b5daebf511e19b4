"""A scorer's module holds the checkpoint's own weights, and is built without a second copy of them."""

from importlib.metadata import version

import pytest
import torch

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers import ScorerOptions
from pyterrier_taskarith.scorers._module import build_module
from testing import bert_triple, llama_triple, t5_triple
from tests.checkpoints.by_hand import same_bits
from tests.scorers.reference import edit_json, scorer_of

CPU = torch.device("cpu")


def built(folder, name, dtype):
    import transformers

    return build_module(Checkpoint(folder), getattr(transformers, name), ScorerOptions(dtype, CPU))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("make", "auto"), [
    (lambda folder: t5_triple(folder), "AutoModelForSeq2SeqLM"),
    (lambda folder: t5_triple(folder, kind="mt5"), "AutoModelForSeq2SeqLM"),
    (lambda folder: llama_triple(folder, inv_freq=True), "AutoModelForCausalLM"),
    (lambda folder: bert_triple(folder, position_ids=True), "AutoModel"),
], ids=["t5", "mt5", "llama", "bert"])
def test_a_module_is_what_transformers_loads(tmp_path, make, auto, dtype):
    import transformers

    folder = make(tmp_path / "triple").ranker
    ours = built(folder, auto, dtype)
    theirs = getattr(transformers, auto).from_pretrained(folder, dtype=dtype)
    expected = dict(theirs.named_parameters(remove_duplicate=False))
    found = dict(ours.named_parameters(remove_duplicate=False))
    assert found.keys() == expected.keys()
    assert all(same_bits(found[name].data, expected[name].data) for name in expected)
    tied = {name: expected[name].data_ptr() for name in expected}
    assert all((found[a] is found[b]) == (tied[a] == tied[b]) for a in found for b in found
               if found[a].shape == found[b].shape)
    buffers = dict(theirs.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) and buffer.dtype == buffers[name].dtype
               for name, buffer in ours.named_buffers())
    assert not ours.training and not any(parameter.requires_grad for parameter in ours.parameters())


@pytest.mark.parametrize(("changed", "message"), [
    ({"vocab_size": 7}, r"word_embeddings.weight is \(500, 32\) in the files, but \(7, 32\) by .*config.json"),
    ({"intermediate_size": 64}, r"intermediate.dense.weight is \(128, 32\) in the files, but \(64, 32\)"),
    ({"num_attention_heads": 3}, r"config.json: transformers cannot build the BertModel from it \(.*multiple"),
    ({"hidden_dropout_prob": 100.0}, r"config.json: transformers cannot build the BertModel"),
    ({"num_hidden_layers": "many"}, r"config.json: transformers cannot build the"),
])
def test_a_configuration_that_does_not_fit_the_weights_is_named(tmp_path, changed, message):
    folder = bert_triple(tmp_path / "triple").ranker
    edit_json(folder / "config.json", **changed)
    with pytest.raises(ScorerError, match=message):
        built(folder, "AutoModel", torch.float32)


@pytest.mark.skipif(int(version("transformers").split(".")[0]) < 5, reason="4.x does not read them in this file")
@pytest.mark.parametrize(("token", "message"), [
    ("sep_token", r"ranker: its tokenizer gives the token 'other' the number 500, but the model has embeddings for 0 "),
    ("unk_token", r"ranker: its tokenizer cannot read a text with an unknown character \(WordPiece"),
])
def test_a_tokenizer_of_another_model_is_named(tmp_path, token, message):
    folder = bert_triple(tmp_path / "triple").ranker
    edit_json(folder / "special_tokens_map.json", **{token: "other"})
    with pytest.raises(ScorerError, match=message):
        scorer_of(folder)
