"""A sweep that was killed goes on from its file and ends in the same frame; a file of another sweep is refused."""

import json

import pandas as pd
import pytest

from pyterrier_taskarith import TaskArithReranker, TaskVector, sweep, tune
from testing import bert_triple
from tests.tuning._killed import killed_after
from tests.tuning._small import small_qrels, small_run

ALPHAS, WEIGHTS = [0.0, 0.3, 0.6, 0.9], [0.0, 0.3, 1.0]


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("triple"))


def reranker(triple, **options):
    return TaskArithReranker(str(triple.ranker), str(triple.domain), str(triple.base), verbose=False, **options)


def swept(triple, file, alphas=ALPHAS, weights=WEIGHTS, run=None, qrels=None, **options):
    r = reranker(triple, **options)
    return r, sweep(r, small_run(3) if run is None else run, small_qrels() if qrels is None else qrels, alphas=alphas,
                    weights=weights, resume=file, verbose=False)


#: What a sweep that is killed is about: four settings in either case.
KINDS = ("one vector, one set", "two vectors, two sets")


def swept_of(triple, file, kind):
    """Sweeps over one or two vectors on one or two development sets."""
    r, run, qrels, alphas = reranker(triple), small_run(3), small_qrels(), ALPHAS
    if "two vectors" in kind:
        whole = TaskVector(str(triple.domain), str(triple.base))
        r = TaskArithReranker(str(triple.ranker), vectors={"a": whole, "b": whole.without("embeddings")}, verbose=False)
        alphas = {"a": [0.0, 0.5], "b": [-0.25, 1.0]}
    if "two sets" in kind:
        run = {"one": run, "two": small_run(9, queries=4)}
        qrels = {"one": qrels, "two": small_qrels((0, 3, 7), queries=4)}
    return sweep(r, run, qrels, alphas=alphas, weights=WEIGHTS, measures=["nDCG@10", "AP"], resume=file, verbose=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_sweep_resumes_and_gives_the_identical_frame(triple, tmp_path, monkeypatch, kind):
    whole = swept_of(triple, None, kind)
    file = tmp_path / "sweep.jsonl"
    finished = killed_after(2, swept_of, triple, file, kind)
    assert 1 <= finished < 4
    asked = []
    original = TaskArithReranker.transform
    monkeypatch.setattr(TaskArithReranker, "transform", lambda self, frame: asked.append(str(self.alpha)) or original(
        self, frame))
    pd.testing.assert_frame_equal(swept_of(triple, file, kind), whole, check_exact=True)
    assert len(set(asked)) == 4 - finished
    pd.testing.assert_frame_equal(swept_of(triple, file, kind), whole, check_exact=True)
    assert len(set(asked)) == 4 - finished, "what is finished was scored again"


def test_what_is_finished_is_not_scored_again_and_more_alphas_are_added(triple, tmp_path, monkeypatch):
    file = tmp_path / "sweep.jsonl"
    _, first = swept(triple, file, alphas=[0.0, 0.3])
    asked = []
    original = TaskArithReranker.transform
    monkeypatch.setattr(TaskArithReranker, "transform", lambda self, frame: asked.append(self.alpha) or original(self,
                                                                                                              frame))
    _, more = swept(triple, file, alphas=[0.9, 0.0, 0.3])
    assert asked == [0.9]
    pd.testing.assert_frame_equal(more[more["alpha"] != 0.9].reset_index(drop=True), first, check_exact=True)


def test_a_line_that_was_cut_is_done_again(triple, tmp_path):
    file = tmp_path / "sweep.jsonl"
    _, whole = swept(triple, file)
    file.write_bytes(file.read_bytes()[:-25])
    _, resumed = swept(triple, file)
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    assert all(json.loads(line) for line in file.read_text().splitlines())


@pytest.mark.parametrize(("change", "what"), [
    ({"weights": [0.0, 1.0]}, "weights of the mix"),
    ({"run": small_run(3).assign(text="other")}, "run"),
    ({"run": small_run(3).assign(score=0.0)}, "run"),
    ({"qrels": small_qrels((1,))}, "judgements"),
    ({"max_length": 16}, "arguments of the re-ranker"),
])
def test_a_file_of_another_sweep_is_refused_by_what_differs(triple, tmp_path, change, what):
    file = tmp_path / "sweep.jsonl"
    swept(triple, file, alphas=[0.0])
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"holds another sweep; different: {what}"):
        swept(triple, file, alphas=[0.0], **change)
    assert file.read_bytes() == before


def test_other_weights_of_a_model_are_noticed(triple, tmp_path, tmp_path_factory):
    file = tmp_path / "sweep.jsonl"
    swept(triple, file, alphas=[0.0])
    other = bert_triple(tmp_path_factory.mktemp("other"), seed=5)
    with pytest.raises(ValueError, match="different: Θ_T's weights, task vectors"):
        swept(other, file, alphas=[0.0])


@pytest.mark.parametrize("content", ["a diary\n", "a diary", "a diary\nand its last line",
                                     '{"format": 99, "sweep": {}}\n', "[]\n", "\xff\n"])
def test_a_file_of_something_else_is_left_alone(triple, tmp_path, content):
    file = tmp_path / "notes.txt"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match="no file of a sweep"):
        swept(triple, file, alphas=[0.0])
    assert file.read_text(encoding="latin-1") == content


def test_a_sweep_killed_in_its_first_line_begins_anew(triple, tmp_path):
    file = tmp_path / "sweep.jsonl"
    _, whole = swept(triple, file, alphas=[0.0])
    file.write_bytes(file.read_bytes()[:40])
    _, again = swept(triple, file, alphas=[0.0])
    pd.testing.assert_frame_equal(again, whole, check_exact=True)


def test_another_sweep_s_file_keeps_its_cut_line_when_it_is_refused(triple, tmp_path):
    file = tmp_path / "sweep.jsonl"
    swept(triple, file, alphas=[0.0])
    file.write_bytes(file.read_bytes()[:-5])
    before = file.read_bytes()
    with pytest.raises(ValueError, match="holds another sweep"):
        swept(triple, file, alphas=[0.0], weights=[1.0])
    assert file.read_bytes() == before


def test_tune_resumes_too(triple, tmp_path):
    file = tmp_path / "tune.jsonl"
    settings = {"alphas": ALPHAS, "weights": WEIGHTS, "resume": file, "verbose": False}
    first = tune(reranker(triple), small_run(3), small_qrels(), **settings)
    second = tune(reranker(triple), small_run(3), small_qrels(), **settings)
    assert (first.alpha, first.weight, first.value) == (second.alpha, second.weight, second.value)
