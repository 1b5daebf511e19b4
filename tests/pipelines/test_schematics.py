"""Pipelines of our transformers are drawn without the network."""

import socket

import pyterrier as pt
import pytest

from pyterrier_taskarith import MinMax, Mix, TaskArithReranker

NOWHERE = TaskArithReranker("nowhere/ranker", "nowhere/domain", "nowhere/base", alpha=0.7)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket, "create_connection", refused)


@pytest.mark.parametrize(("pipeline", "shown"), [
    (NOWHERE, ["TaskArith"]), (MinMax(), ["MinMax"]), (Mix(NOWHERE), ["Mix", "TaskArith"]),
    (NOWHERE >> MinMax(), ["TaskArith", "MinMax"]), (Mix(NOWHERE >> MinMax()), ["Mix", "TaskArith", "MinMax"]),
    (MinMax() >> Mix(NOWHERE.copy(variant="base"), 0.3) >> MinMax(), ["MinMax", "Mix", "TaskArith"]),
], ids=["re-ranker", "MinMax", "Mix", "pipeline", "pipeline in Mix", "Mix in pipeline"])
def test_pipelines_are_drawn_offline(pipeline, shown):
    drawn = pt.schematic.draw(pipeline)
    assert all(label in drawn for label in shown)
    assert not NOWHERE._loaded


def test_settings_and_columns_are_in_the_schematic():
    schematic = pt.schematic.transformer_schematic(NOWHERE)
    assert schematic["label"] == "TaskArith" and len(schematic["label"]) <= 20
    assert schematic["input_columns"] == ["qid", "docno", "query", "text"]
    assert schematic["output_columns"] == ["qid", "docno", "query", "text", "score", "rank"]
    assert schematic["settings"]["alpha"] == 0.7
    mixed = pt.schematic.transformer_schematic(Mix(NOWHERE, 0.3))
    assert mixed["settings"] == {"weight": 0.3} and mixed["inner_pipelines_mode"] == "linked"
    assert [inner["label"] for inner in mixed["inner_pipelines"]] == ["TaskArith"]


def test_a_drawing_in_a_notebook_needs_no_network():
    assert "TaskArith" in NOWHERE._repr_html_() and "Mix" in Mix(NOWHERE)._repr_html_()
