"""The real triple and a small T5, and a first stage over real text."""

import pyterrier as pt
import pytest

from pyterrier_taskarith import TaskArithReranker
from testing import t5_triple
from tests.pipelines.real_text import DEMO, candidates


@pytest.fixture(scope="session")
def t5(tmp_path_factory):
    triple = t5_triple(tmp_path_factory.mktemp("t5"))
    return str(triple.ranker), str(triple.domain), str(triple.base)


@pytest.fixture(params=["bi-encoder", pytest.param("T5", marks=pytest.mark.slow)])
def r(request, t5):
    """A re-ranker of either kind."""
    return TaskArithReranker(*(DEMO if request.param == "bi-encoder" else t5), alpha=0.7, verbose=False)


@pytest.fixture
def bi_encoder():
    return TaskArithReranker(*DEMO, alpha=0.7, verbose=False)


@pytest.fixture
def first():
    """The first stage: a transformer from queries to candidates."""
    return pt.Transformer.from_df(candidates(12, 15))
