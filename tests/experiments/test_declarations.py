"""What systems.py and datasets.py declare: complete, and known to those who are to read it. Nothing is downloaded."""

import re
import shlex
from pathlib import Path

import ir_datasets
import pytest

from experiments.command import run
from experiments.datasets import DATASETS, Dataset
from experiments.options import added, chosen, make_parser, requested
from experiments.paper import printed
from experiments.rehearsal.small_collections import make_collections
from experiments.systems import SYSTEMS, Model, System
from experiments.table1 import table1
from pyterrier_taskarith import TaskArithReranker
from tests.experiments.small import overlap

README = Path(__file__).parents[2] / "experiments" / "README.md"


def test_systems_and_datasets_are_those_of_the_printed_tables():
    first, second = printed("table1"), printed("table2")
    assert [system.name for system in SYSTEMS] == first.names("system") + second.names("system")
    assert [dataset.name for dataset in DATASETS] == first.names("dataset") + second.names("dataset")


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_re_ranker_takes_what_a_system_declares(system):
    for target in system.domains:
        reranker = TaskArithReranker(**system.options(target))
        assert (reranker.ranker, reranker.domain) == (system.ranker.source, system.domains[target].source)
        assert reranker.base == system.base.source
    with pytest.raises(ValueError, match="no model adapted to 'law'"):
        system.options("law")


def test_every_dataset_has_a_system_and_every_system_a_dataset():
    targets = {dataset.target for dataset in DATASETS}
    assert targets == {target for system in SYSTEMS for target in system.domains}


@pytest.mark.parametrize("dataset", [dataset for dataset in DATASETS if dataset.test], ids=lambda each: each.name)
def test_ir_datasets_knows_the_ids(dataset):
    for identifier in filter(None, (dataset.test, dataset.development)):
        data = ir_datasets.load(identifier.removeprefix("irds:"))
        assert data.has_queries() and data.has_qrels()
    documents = ir_datasets.load(dataset.corpus.removeprefix("irds:"))
    assert documents.has_docs()
    assert {"doc_id", "title", "text"} <= set(documents.docs_cls()._fields)
    assert "text" in ir_datasets.load(dataset.test.removeprefix("irds:")).queries_cls()._fields


def test_only_the_protocol_s_datasets_tune():
    assert [dataset.name for dataset in DATASETS if dataset.develops] == ["SciFact", "NFCorpus"]
    assert [dataset.name for dataset in DATASETS if dataset.tunes_weight] == ["SciFact", "NFCorpus"]
    assert [dataset.development_share for dataset in DATASETS][:2] == [0.2, 1.0]


def test_a_revision_is_part_of_the_source():
    assert Model("org/name").source == "org/name"
    assert Model("org/name", "abc").source == "org/name@abc"


def test_a_file_of_declarations_adds_and_replaces(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from experiments.systems import *\n"
                    "SYSTEMS = [System('Mine', Model('a/t'), Model('a/0'), {BIOMEDICAL: Model('a/d')}, 'bi-encoder'),\n"
                    "           System('T5-base', Model('b/t'), Model('b/0'), {}, 'seq2seq')]\n")
    request = requested(make_parser("table1", "").parse_args(["--declarations", str(path), "--folder", str(tmp_path)]))
    assert [system.name for system in request.systems] == [*(system.name for system in SYSTEMS), "Mine"]
    assert request.systems[2].ranker.id == "b/t"
    assert [dataset.name for dataset in request.developments] == ["SciFact", "NFCorpus"]


@pytest.mark.slow
def test_the_readmes_declarations_make_a_table(tmp_path, monkeypatch):
    text = README.read_text(encoding="utf-8")
    code = re.search(r"<!-- declarations -->\n```python\n(.*?)```", text, re.DOTALL)[1]
    command = re.search(r"<!-- declarations command -->\n```bash\n(.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(code, encoding="utf-8")
    make_collections([Dataset("My papers", "papers", "biomedical", development="local")], Path("collections"))
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:3] == ["python", "-m", "experiments.table1"]
    request = requested(make_parser("table1", "").parse_args([*words[3:], "--limit-queries", "3", "--device", "cpu"]))
    assert [dataset.name for dataset in request.developments] == ["My papers"]
    text = run("table1", table1, request, first=overlap)
    assert "development queries of My papers, of equal ones" in text and "models/ranker" not in text
    assert re.search(r"^Mine +Θ_0: pre-trained +\.\d", text, re.MULTILINE)
    with pytest.raises(ValueError, match="unknown dataset with development queries 'SCIDOCS'"):
        requested(make_parser("table1", "").parse_args(["--development", "SCIDOCS"]))


def test_names_are_chosen_in_the_order_of_the_table_and_unknown_ones_refused():
    assert [system.name for system in chosen(list(SYSTEMS), "DistilBERT, T5-Large", "system")] == [
        "T5-Large", "DistilBERT"]
    with pytest.raises(ValueError, match="unknown system 'T6': choose among Llama-2-7B"):
        chosen(list(SYSTEMS), "T6", "system")
    again = System("DistilBERT", Model("a"), Model("b"), {}, "causal")
    assert added(list(SYSTEMS), [again])[4].scorer == "causal"
    assert len(added(list(SYSTEMS), [again])) == len(SYSTEMS)
