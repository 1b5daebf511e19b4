"""Small triples that tests only read, and a cache folder of the test's own."""

from pathlib import Path

import pytest
import torch

import pyterrier_taskarith
from pyterrier_taskarith.arithmetic import TaskVector
from testing import Triple, bert_triple, t5_triple
from tests.arithmetic.reference import Case

DEMO = Path(pyterrier_taskarith.__file__).parent / "demo" / "models"
MIXED = {"base": torch.float16, "domain": torch.bfloat16, "ranker": torch.float32}
#: Name -> how the triple is made in a folder.
CASES = {
    "demo": lambda folder: Case(Triple(DEMO / "ranker", DEMO / "domain", DEMO / "base"), "bert."),
    "bert": lambda folder: Case(bert_triple(folder, position_ids=True), "bert."),
    "bert-bfloat16": lambda folder: Case(bert_triple(folder, dtype=torch.bfloat16), "bert."),
    "roberta-bin": lambda folder: Case(bert_triple(folder, family="roberta", layout="bin", duplicated=True,
                                                   position_ids=True), "roberta."),
    "distilbert-mixed": lambda folder: Case(bert_triple(folder, family="distilbert", dtype=MIXED), "distilbert."),
    "t5-sharded": lambda folder: Case(t5_triple(folder, layout="sharded", stray=True)),
    "t5-bin": lambda folder: Case(t5_triple(folder, layout="bin", duplicated=True, stray=True)),
    "mt5-float16": lambda folder: Case(t5_triple(folder, kind="mt5", dtype=torch.float16), tied_output=False),
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Hashes remembered by one test are unknown to the next."""
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "taskarith-home"))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Gives each case of CASES, made once; read only."""
    known = {}

    def get(name: str) -> Case:
        if name not in known:
            known[name] = CASES[name](tmp_path_factory.mktemp(name))
        return known[name]

    return get


@pytest.fixture(params=CASES)
def case(request, made) -> Case:
    """Each of the triples in turn."""
    return made(request.param)


@pytest.fixture
def bert(made) -> Case:
    """Two masked BERTs in float32 and a sentence-transformers ranker with a pooler; read only."""
    return made("bert")


@pytest.fixture(scope="session")
def toxic(tmp_path_factory) -> Case:
    """A second vector for `bert`: another domain and base of the same shapes and tokens; read only."""
    return Case(bert_triple(tmp_path_factory.mktemp("toxic"), seed=5), "bert.")


@pytest.fixture
def bio(bert) -> TaskVector:
    """Θ_D − Θ_0 of `bert`."""
    return TaskVector(bert.triple.domain, bert.triple.base)


@pytest.fixture
def other(toxic) -> TaskVector:
    """Θ_D − Θ_0 of `toxic`."""
    return TaskVector(toxic.triple.domain, toxic.triple.base)
