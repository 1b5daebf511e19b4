"""Θ_T and τ stay in memory where they fit in half of what is free, and the choice is told."""

import pandas as pd
import pytest
import torch

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.scorers import _residence as residence
from testing import bert_triple
from tests.reranking import assert_scores_agree


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("residence"))


def reranker(triple, **options):
    return TaskArithReranker(str(triple.ranker), str(triple.domain), str(triple.base), alpha=0.5, **options)


def needed(plan):
    elements = sum(torch.Size(shape).numel() for shape in plan.ranker.shapes.values())
    moved = sum(torch.Size(plan.ranker.shapes[name]).numel() for name in plan.merged)
    return 4 * (elements + moved)


@pytest.mark.parametrize(("more_than_twice", "choice"), [(1, "memory"), (0, "disk")])
def test_half_of_what_is_free_decides(triple, monkeypatch, capsys, more_than_twice, choice):
    r = reranker(triple, max_length=30 + more_than_twice)  # of its own, so that a model is loaded for it
    free = 2 * needed(r.plan) + more_than_twice
    monkeypatch.setattr(residence, "free_memory", lambda device: free)
    r(pd.DataFrame({"qid": ["1"], "query": ["the"], "docno": ["d"], "text": ["a text"]}))
    assert (r.residence.choice, r.residence.needed, r.residence.free) == (choice, needed(r.plan), free)
    assert str(r.residence).startswith(f"{choice}: Θ_T and τ in float32 take ")
    assert ("each change of α reads the files" in capsys.readouterr().err) == (choice == "disk")


@pytest.mark.parametrize("choice", ["memory", "disk"])
def test_what_is_asked_for_is_done(triple, choice, capsys):
    assert str(reranker(triple, weights=choice).residence) == f"{choice}, as asked"
    assert "reads the files" not in capsys.readouterr().err


def test_scores_do_not_depend_on_it(triple):
    frame = pd.DataFrame({"qid": "1", "query": "the text", "docno": ["a", "b"], "text": ["one text", "another"]})
    memory, disk = (reranker(triple, weights=choice)(frame)["score"].tolist() for choice in ("memory", "disk"))
    assert_scores_agree(memory, disk)


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    for name, text in {"_LIMIT": "5000000\n", "_USED": "3000000\n",
                       "_STATISTICS": "anon 2000000\ninactive_file 1000000\n"}.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(residence, name, tmp_path / name)
    assert residence.free_memory(torch.device("cpu")) == 3_000_000
    (tmp_path / "_LIMIT").write_text("max\n")
    assert residence.free_memory(torch.device("cpu")) > 3_000_000


@pytest.mark.parametrize("hidden", ["sysconf", "sysconf_names"])
def test_a_system_without_sysconf_is_taken_for_a_small_one(tmp_path, monkeypatch, hidden):
    for name in ("_LIMIT", "_MEMORY"):
        monkeypatch.setattr(residence, name, tmp_path / "nowhere")
    assert residence.free_memory(torch.device("cpu")) > 0
    monkeypatch.delattr(residence.os, hidden)
    assert residence.free_memory(torch.device("cpu")) == residence.ASSUMED_MEMORY
