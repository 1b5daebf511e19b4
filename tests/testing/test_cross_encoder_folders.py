"""The cross-encoder triples load in transformers and sentence-transformers, and hold what their options say."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, ElectraForPreTraining

from testing import SAVED_BY, cross_encoder_triple, questions
from tests.testing.test_factories import load, read

FAMILIES = ["bert", "distilbert", "roberta", "electra"]


@pytest.mark.parametrize("layout", ["safetensors", "sharded_bin"])
@pytest.mark.parametrize("family", FAMILIES)
def test_folders_load_completely(tmp_path, family, layout):
    triple = cross_encoder_triple(tmp_path, family=family, layout=layout, labels=2)
    for role, auto in (("base", AutoModelForMaskedLM), ("domain", AutoModelForMaskedLM),
                       ("ranker", AutoModelForSequenceClassification)):
        auto = ElectraForPreTraining if family == "electra" and role != "ranker" else auto
        model, missing, unexpected = load(auto, getattr(triple, role))
        assert (missing, unexpected) == (set(), set())
        files, state = read(getattr(triple, role)), model.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in files.items())
    assert model.config.num_labels == 2 and len(AutoTokenizer.from_pretrained(triple.ranker)) == model.config.vocab_size


@pytest.mark.parametrize("saved_by", SAVED_BY)
def test_what_sentence_transformers_reads_is_what_was_asked_for(tmp_path, saved_by):
    from sentence_transformers import CrossEncoder

    new = {"prompts": {"ask": "ask: "}, "default_prompt": "ask", "max_seq_length": 20}
    ranker = cross_encoder_triple(tmp_path, saved_by=saved_by, activation="torch.nn.Tanh",
                                  **(new if saved_by == SAVED_BY[2] else {})).ranker
    model = CrossEncoder(str(ranker), device="cpu")
    assert isinstance(model.activation_fn, torch.nn.Tanh) and model.num_labels == 1
    assert (ranker / "modules.json").is_file() == (saved_by == SAVED_BY[2])
    assert (model.default_prompt_name, model.max_seq_length) == (
        ("ask", 20) if saved_by == SAVED_BY[2] else (None, 512))
    assert model.predict([(query, "cell") for query in questions(5)]).std() > 0.01


def test_options_hold(tmp_path):
    triple = cross_encoder_triple(tmp_path, pooler_in=("ranker", "base"), dtype={"domain": torch.float16},
                                  legacy_names={"base": True}, position_ids={"ranker": True}, duplicated={"base": True})
    base, domain, ranker = (load_file(path / "model.safetensors")
                            for path in (triple.base, triple.domain, triple.ranker))
    assert "bert.pooler.dense.weight" in base and "bert.pooler.dense.weight" not in domain
    assert "bert.embeddings.LayerNorm.gamma" in base and "cls.predictions.decoder.weight" in base
    assert {tensor.dtype for tensor in domain.values()} == {torch.float16}
    assert ranker["bert.embeddings.position_ids"].dtype == torch.int64
    assert json.loads((triple.ranker / "config.json").read_text())["id2label"] == {"0": "LABEL_0"}


@pytest.mark.parametrize(("options", "message"), [
    ({"family": "albert"}, "unknown family 'albert'"), ({"saved_by": "me"}, "unknown saved_by 'me'"),
    ({"pooler_in": ("rankers",)}, "unknown roles"), ({"default_prompt": "ask"}, "stated by .* alone")])
def test_wrong_options_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        cross_encoder_triple(tmp_path, **options)
