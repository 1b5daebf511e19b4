"""Which scorer a folder needs is what its files say, and an error where they do not."""

import json

import pytest

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers import BiEncoder, ScorerError, Seq2Seq, detect
from tests.factories import bert_triple, t5_triple
from tests.scorers._reference import scorer_of


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return t5_triple(tmp_path_factory.mktemp("t5"))


def test_the_files_say_which_scorer(bert, t5):
    assert detect(Checkpoint(bert.ranker)) == "bi-encoder" and isinstance(scorer_of(bert.ranker), BiEncoder)
    assert detect(Checkpoint(t5.ranker)) == "seq2seq" and isinstance(scorer_of(t5.ranker), Seq2Seq)


def test_a_folder_that_does_not_say_is_an_error_with_the_choices(bert):
    with pytest.raises(ScorerError, match=r"'bert' model without modules.json.*scorer=.*bi-encoder, seq2seq"):
        scorer_of(bert.base)


def test_a_scorer_that_does_not_suit_the_model_is_an_error(bert, t5):
    with pytest.raises(ScorerError, match="no AutoModelForSeq2SeqLM for the model type 'bert'"):
        scorer_of(bert.ranker, "seq2seq")
    with pytest.raises(ScorerError, match="choose 'auto' or one of bi-encoder, seq2seq"):
        scorer_of(t5.ranker, "cross-encoder")


def test_a_folder_without_what_its_class_needs_is_an_error(tmp_path):
    folder = bert_triple(tmp_path).ranker
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ScorerError, match=r"lacks 16 parameters of BertModel: encoder\.layer\.2"):
        scorer_of(folder)
