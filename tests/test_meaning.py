"""Configurations that change what the same weights compute: refused, or told with file, key and both values."""

import json
import warnings

import pytest

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
