"""``resume=`` is a score cache in a file: what is in it is not scored again, and what is not of it is refused."""

import multiprocessing

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith import TaskArithReranker, TaskVector, sweep, tune
from pyterrier_taskarith.errors import TaskArithError
from testing import bert_triple
from tests.tuning.killed import killed_after, settings_in
from tests.tuning.small import small_qrels, small_run

ALPHAS, WEIGHTS = [0.0, 0.3, 0.6, 0.9], [0.0, 0.3, 1.0]
RUN, QRELS = small_run(3), small_qrels()
GRID = {"alphas": ALPHAS, "weights": WEIGHTS, "verbose": False}


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("triple"))


def reranker(triple, **options):
    return TaskArithReranker(str(triple.ranker), str(triple.domain), str(triple.base), verbose=False, **options)


def swept_of(triple, file, kind):
    """Sweeps over one or two vectors on one or two development sets: 12 settings in either case."""
    r, run, qrels, alphas = reranker(triple), RUN, QRELS, [step / 12 for step in range(12)]
    if "two vectors" in kind:
        whole = TaskVector(str(triple.domain), str(triple.base))
        r = TaskArithReranker(str(triple.ranker), vectors={"a": whole, "b": whole.without("embeddings")}, verbose=False)
        alphas = {"a": [0.0, 0.5, 0.7], "b": [-0.25, 0.2, 0.4, 0.6]}
    if "two sets" in kind:
        run, qrels = {"one": run, "two": small_run(9, queries=4)}, {"one": qrels, "two": small_qrels((0, 3, 7), 4)}
    return sweep(r, run, qrels, alphas=alphas, weights=WEIGHTS, measures=["nDCG@10", "AP"], resume=file, verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one vector, one set", "two vectors, two sets"])
def test_a_killed_sweep_resumes_and_gives_the_identical_frame(triple, tmp_path, scored, kind):
    whole = swept_of(triple, None, kind)
    file = tmp_path / "sweep.scores"
    finished = killed_after(2, swept_of, triple, file, kind)
    assert 2 <= finished < 12
    del scored[:]
    pd.testing.assert_frame_equal(swept_of(triple, file, kind), whole, check_exact=True)
    # Of two sets the second of the last setting may be missing too.
    assert 12 - finished <= len(scored) / (2 if "two sets" in kind else 1) <= 12 - finished + 1 / 2
    assert settings_in(file) == 12


LOADED = dict(zip(RUN["docno"], RUN["text"], strict=True))
#: What can stand for texts; the first two have no repr that two processes share.
LOADERS = {"a function": lambda rows: rows.assign(text=rows["docno"].map(LOADED)),
           "pt.apply": pt.apply.text(lambda row: LOADED[row["docno"]]), "none": None}


@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_finished_is_not_scored_again_and_more_alphas_are_added(triple, tmp_path, scored, loader):
    file, run = tmp_path / "sweep.scores", RUN if loader == "none" else RUN.drop(columns="text")
    first = sweep(reranker(triple, text_loader=LOADERS[loader]), run, QRELS, resume=file,
                  **{**GRID, "alphas": [0.0, 0.3]})
    assert sum(scored) == 2 * len(RUN)
    if loader == "a function":  # another one: nothing but the texts counts
        other = {"text_loader": lambda rows: rows.assign(text=rows["docno"].map(LOADED))}
    else:
        other = {"text_loader": LOADERS[loader]}
    more = sweep(reranker(triple, **other), run, QRELS, resume=file, **{**GRID, "alphas": [0.9, 0.0, 0.3]})
    assert sum(scored) == 3 * len(RUN)
    pd.testing.assert_frame_equal(more[more["alpha"] != 0.9].reset_index(drop=True), first, check_exact=True)


@pytest.mark.parametrize(("options", "run", "pairs"), [
    ({}, RUN.assign(text="other"), 5), ({"max_length": 16}, RUN, 40), ({}, RUN.assign(score=-RUN["score"]), 0)])
def test_another_sweep_may_use_the_file_and_scores_what_is_new_to_it(triple, tmp_path, scored, options, run, pairs):
    file = tmp_path / "sweep.scores"
    sweep(reranker(triple), RUN, QRELS, resume=file, **GRID)
    del scored[:]
    swept = sweep(reranker(triple, **options), run, QRELS, resume=file, **GRID)
    assert sum(scored) == pairs * len(ALPHAS)
    pd.testing.assert_frame_equal(swept, sweep(reranker(triple, **options), run, QRELS, **GRID), check_exact=True)


def test_other_weights_of_a_model_are_noticed(triple, tmp_path, tmp_path_factory, scored):
    other = bert_triple(tmp_path_factory.mktemp("other"), seed=5)
    for each in (triple, other):
        sweep(reranker(each), RUN, QRELS, resume=tmp_path / "sweep.scores", **GRID)
    assert sum(scored) == 2 * len(ALPHAS) * len(RUN)


@pytest.mark.parametrize("content", ["a diary\n", '{"format": 1, "sweep": {}}\n' * 99, "\xff\n"])
def test_a_file_of_something_else_is_left_alone(triple, tmp_path, content):
    file = tmp_path / "notes.txt"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(RuntimeError, match="notes.txt: the file is not an SQLite database; name another, or remove"):
        sweep(reranker(triple), RUN, QRELS, resume=file, **GRID)
    assert file.read_text(encoding="latin-1") == content


def test_a_cache_or_nodes_beside_resume_are_refused(triple, tmp_path):
    with pytest.raises(RuntimeError, match="keeps its scores in cache=.*, from which a sweep goes on too: leave"):
        sweep(reranker(triple, cache=tmp_path / "scores"), RUN, QRELS, resume=tmp_path / "file", **GRID)
    with pytest.raises(TaskArithError, match="resume keeps the scores of each α, and nodes .*: leave one out"):
        tune(reranker(triple), RUN, QRELS, resume=tmp_path / "file", nodes=[0, 0.25, 0.5, 0.75, 1], **GRID)


def test_only_a_sweep_writes_to_its_file(triple, tmp_path):
    r, file = reranker(triple), tmp_path / "tune.scores"
    first = tune(r, RUN, QRELS, resume=file, **GRID)
    again = tune(reranker(triple), RUN, QRELS, resume=file, **GRID)
    assert (first.alpha, first.weight, first.value) == (again.alpha, again.weight, again.value)
    r.copy(alpha=0.77)(RUN)
    assert settings_in(file) == len(ALPHAS) and first.reranker.cache is None


def at_once(triple, file, barrier):
    r = reranker(triple)
    r.model  # noqa: B018 - all are loaded when they begin
    barrier.wait()
    sweep(r, RUN, QRELS, resume=file, **GRID)


@pytest.mark.slow
@pytest.mark.long
def test_sweeps_at_once_share_a_file(triple, tmp_path):
    """Each process made a first line of its own when ``resume=`` was a text file: nobody could read it again."""
    context, file = multiprocessing.get_context("spawn"), tmp_path / "sweep.scores"
    barrier = context.Barrier(2)
    processes = [context.Process(target=at_once, args=(triple, file, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0] and settings_in(file) == len(ALPHAS)
