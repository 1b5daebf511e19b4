"""What is read of each model is told with the file that it comes from."""

import pytest

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.cli import main
from pyterrier_taskarith.tables import Table
from testing import bert_triple, cross_encoder_triple, llama_triple, t5_triple
from tests.reranking import reranker
from tests.scorers.reference import edit_json

NEW = "sentence-transformers 6"


def rows(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_every_fact_of_a_score_has_a_row_with_its_file(tmp_path):
    triple = bert_triple(tmp_path, pooling="cls", max_seq_length=17, prompts={"query": "ask: "}, normalize=True)
    edit_json(triple.base / "tokenizer_config.json", padding_side="left")
    r = reranker(triple)
    found = rows(r.explain())
    assert {fact.replace("_", " ") for fact in r.model.scorer.facts} <= found.keys()
    assert found["pooling"] == ["cls", "", "", "1_Pooling/config.json"]
    assert found["max length"] == ["17", "", "", "sentence_bert_config.json"]
    assert found["prompts"] == ["query ask: , document none", "", "", "config_sentence_transformers.json"]
    assert found["modules"][0] == "Normalize"
    assert found["hidden activation"] == ["gelu", "the same", "the same", "config.json"]
    assert found["padding side"][:3] == ["right", "the same", "left"]
    assert found["cls token"][0] == f"[CLS] {r.model.scorer.tokenizer.cls_token_id}"
    assert found["class"] == ["BertModel", "BertForMaskedLM", "BertForMaskedLM", "config.json"]
    assert found["folder"] == [str(triple.ranker), str(triple.domain), str(triple.base), ""]


def test_arguments_and_defaults_are_told_from_files(tmp_path):
    folder = cross_encoder_triple(tmp_path / "new", saved_by=NEW, max_seq_length=30).ranker
    assert rows(TaskArithReranker(folder, vectors={}).explain())["max length"] == ["30", "sentence_bert_config.json"]
    found = rows(TaskArithReranker(folder, vectors={}, max_length=20).explain())
    assert found["max length"] == ["20", "argument"]
    plain = rows(TaskArithReranker(cross_encoder_triple(tmp_path / "old").ranker, vectors={}).explain())
    assert plain["activation"] == ["Sigmoid", "default"] and plain["max length"][1] == "tokenizer and config.json"


@pytest.mark.filterwarnings("ignore:.*prediction tokens of this ranker")
def test_prediction_tokens_and_prompts_are_told(tmp_path):
    folder = t5_triple(tmp_path / "t5").ranker
    assert rows(TaskArithReranker(folder, vectors={}).explain())["tokens"] == ["▁false, ▁true", "usual for t5 models"]
    given = TaskArithReranker(folder, vectors={}, token_false="▁no", token_true="▁yes").explain()
    assert rows(given)["tokens"] == ["▁no, ▁yes", "argument"]
    causal = rows(TaskArithReranker(llama_triple(tmp_path / "llama").ranker, vectors={}).explain())
    assert causal["prompt"][0].startswith("Document: ") and "rotary positions" in causal


def test_inspect_prints_it_and_says_where_scoring_is_not_known(tmp_path, capsys):
    triple = bert_triple(tmp_path)
    for roles, words in ((("ranker", "domain", "base"), "1_Pooling/config.json"),
                         (("domain", "ranker", "base"), "It is not known how Θ_T scores: ")):
        folders = [str(getattr(triple, role)) for role in roles]
        assert main(["inspect", "--ranker", folders[0], "--domain", folders[1], "--base", folders[2],
                     "--models"]) == 0
        printed = capsys.readouterr().out
        assert "Read from the files:" in printed and words in printed
