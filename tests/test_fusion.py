"""MinMax and Mix are ranx's min-max normalisation and weighted sum, and refuse what they cannot fuse."""

import copy
import json
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith import MinMax, Mix, TaskArithReranker, compare
from pyterrier_taskarith.errors import DataError


class Scores(pt.Transformer):
    """Scores rows by a table; ``change`` is done to the frame that it returns."""

    schematic = {"label": "Scores", "help_url": "https://example.org"}

    def __init__(self, table: dict[tuple[str, str], float], change=None) -> None:
        self.table, self.change = table, change

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        pt.validate.result_frame(inp, extra_columns=["query", "text"], context=self)
        out = inp.assign(score=[self.table[row.qid, row.docno] for row in inp.itertuples()])
        return out if self.change is None else self.change(out)


def random_runs(seed: int) -> tuple[pd.DataFrame, dict[tuple[str, str], float]]:
    """Returns a first stage's frame, rows in no order, and a score of a re-ranker for each row."""
    generator = np.random.default_rng(seed)
    rows = [{"qid": f"q{q}", "query": f"query {q}", "docno": f"d{d}", "text": f"text {d}",
             "score": round(float(generator.normal(15, 5)), 1 if q % 2 else 6)}
            for q in range(8) for d in generator.choice(50, size=generator.integers(1, 30), replace=False)]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    frame.loc[frame["qid"] == "q3", "score"] = 7.25  # all equal
    frame = pt.model.add_ranks(frame.copy())
    return frame, {(row.qid, row.docno): float(generator.normal()) for row in frame.itertuples()}


def as_run(frame: pd.DataFrame, scores: list[float]) -> dict[str, dict[str, float]]:
    run: dict[str, dict[str, float]] = {}
    for qid, docno, score in zip(frame["qid"], frame["docno"], scores, strict=True):
        run.setdefault(qid, {})[docno] = float(score)
    return run


SEEDS, WEIGHTS = range(4), (0.0, 0.3, 0.5, 1.0)

#: ranx's answers. In a process of its own, as compiling its loops takes far longer than running them as they are.
RANX = """
import json, sys
from ranx import Run, fuse
from ranx.normalization.min_max_norm import min_max_norm
answers = []
for ours, theirs in json.load(sys.stdin):
    mixed = [fuse([Run(ours), Run(theirs)], norm="min-max", method="wsum", params={"weights": (1 - w, w)}).to_dict()
             for w in json.loads(sys.argv[1])]
    answers.append([min_max_norm(Run(ours)).to_dict(), mixed])
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def ranx():
    """For each seed: the first stage's scores mapped to [0, 1], and the fused scores for each weight."""
    runs = [(as_run(frame, frame["score"]), as_run(frame, list(table.values())))
            for frame, table in map(random_runs, SEEDS)]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", RANX, json.dumps(WEIGHTS)], input=json.dumps(runs),
                          env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.slow
def test_mix_equals_ranx(ranx, seed, weight):
    frame, table = random_runs(seed)
    fused = ranx[seed][1][WEIGHTS.index(weight)]
    mixed = Mix(Scores(table), weight=weight).transform(frame)
    np.testing.assert_allclose(mixed["score"], [fused[row.qid][row.docno] for row in frame.itertuples()], atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_minmax_equals_ranx(ranx, seed):
    frame, _ = random_runs(seed)
    expected = ranx[seed][0]
    scaled = MinMax().transform(frame)
    np.testing.assert_allclose(scaled["score"], [expected[row.qid][row.docno] for row in frame.itertuples()], atol=1e-9)


def test_mix_is_the_sum_of_two_minmaxes():
    frame, table = random_runs(9)
    summed = (0.25 * MinMax() + 0.75 * (Scores(table) >> MinMax())).transform(frame)
    mixed = Mix(Scores(table), weight=0.75).transform(frame)
    both = mixed.merge(summed[["qid", "docno", "score"]], on=["qid", "docno"], suffixes=("", "_sum"))
    assert len(both) == len(frame)
    np.testing.assert_allclose(both["score"], both["score_sum"], atol=1e-12)


def test_minmax_by_hand():
    frame = pd.DataFrame({"qid": ["a", "b", "a", "b", "a", "c"], "docno": list("123456"),
                          "score": [2.0, -1.0, 6.0, -1.0, 3.0, 5.0]})
    out = MinMax().transform(frame)
    assert out["score"].tolist() == [0.0, 0.0, 1.0, 0.0, 0.25, 0.0]
    assert out["rank"].tolist() == [2, 0, 0, 1, 1, 0]


def test_mix_does_not_depend_on_the_rerankers_order_of_rows():
    frame, table = random_runs(1)
    plain = Mix(Scores(table), weight=0.6).transform(frame)
    shuffled = Mix(Scores(table, lambda out: out.sample(frac=1, random_state=3).reset_index(drop=True)), weight=0.6)
    pd.testing.assert_frame_equal(shuffled.transform(frame), plain)


def test_frames_keep_rows_columns_and_index_and_inputs_stay_as_they_were():
    frame, table = random_runs(2)
    frame = frame.assign(extra=range(len(frame)))
    frame.index = pd.Index([7, 7, *range(len(frame) - 2)])
    before = frame.copy(deep=True)
    for transformer in (MinMax(), Mix(Scores(table))):
        out = transformer.transform(frame)
        pd.testing.assert_frame_equal(frame, before)
        pd.testing.assert_frame_equal(out[["qid", "docno", "text", "extra"]], before[["qid", "docno", "text", "extra"]])
        assert out["score"].dtype == "float64" and out["rank"].dtype == "int64"


def test_ranks_are_those_of_the_new_scores():
    frame, table = random_runs(5)
    out = Mix(Scores(table), weight=0.8).transform(frame)
    for _, part in out.groupby("qid"):
        assert part.sort_values("rank")["score"].is_monotonic_decreasing
        assert sorted(part["rank"]) == list(range(len(part)))


def test_no_rows_pass_through():
    frame, table = random_runs(0)
    for transformer in (MinMax(), Mix(Scores(table))):
        out = transformer.transform(frame.iloc[:0])
        assert len(out) == 0 and set(out.columns) == set(frame.columns)


def test_a_document_that_comes_twice_is_an_error():
    frame, table = random_runs(0)
    twice = pd.concat([frame, frame.iloc[[4]]])
    row = frame.iloc[4]
    with pytest.raises(ValueError, match=f"document '{row.docno}' twice for query '{row.qid}'"):
        Mix(Scores(table)).transform(twice)


@pytest.mark.parametrize("change", [
    lambda out: out.iloc[1:], lambda out: pd.concat([out, out.iloc[[0]]]), lambda out: pd.concat([out.iloc[1:],
                                                                                                  out.iloc[[1]]]),
    lambda out: out.assign(docno=["other", *out["docno"][1:]]),
], ids=["dropped", "added", "one instead of another", "renamed"])
def test_a_reranker_that_changes_the_rows_is_an_error(change):
    frame, table = random_runs(0)
    with pytest.raises(ValueError, match="exactly the rows it is given"):
        Mix(Scores(table, change)).transform(frame)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error(bad):
    frame, table = random_runs(0)
    key = next(iter(table))
    with pytest.raises(ValueError, match=f"query '{key[0]}' has a score that is NaN or infinite"):
        Mix(Scores({**table, key: bad})).transform(frame)
    frame.loc[frame.index[2], "score"] = bad
    with pytest.raises(ValueError, match=f"query '{frame['qid'].iloc[2]}' has a score that is NaN or infinite"):
        MinMax().transform(frame)


@pytest.mark.parametrize("column", ["qid", "docno", "score", "query", "text"])
def test_a_missing_column_is_named(column):
    frame, table = random_runs(0)
    with pytest.raises(pt.validate.InputValidationError, match=column):
        Mix(Scores(table)).transform(frame.drop(columns=column))
    if column in ("qid", "docno", "score"):
        with pytest.raises(pt.validate.InputValidationError, match=column):
            MinMax().transform(frame.drop(columns=column))


def test_a_reranker_with_several_forms_of_input_may_get_any():
    class Either(Scores):
        def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
            with pt.validate.any(inp, context=self) as form:
                form.result_frame(["query", "body"], mode="body")
                form.result_frame(["query", "text"], mode="text")
            return inp.assign(score=[self.table[row.qid, row.docno] for row in inp.itertuples()])

    frame, table = random_runs(0)
    pd.testing.assert_frame_equal(Mix(Either(table)).transform(frame), Mix(Scores(table)).transform(frame))
    with pytest.raises(pt.validate.InputValidationError, match="body"):
        Mix(Either(table)).transform(frame.drop(columns="text"))


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(ValueError, match="from 0 to 1"):
        Mix(Scores({}), weight=weight)
    mix = Mix(Scores({}), weight=0.25)
    with pytest.raises(ValueError, match="from 0 to 1"):
        mix.set_parameter("weight", weight)
    assert mix.weight == 0.25


@pytest.mark.parametrize("weight", [np.float32(0.5), np.float64(0.5), np.int64(1), 0, 1])
def test_a_weight_may_be_numpys(weight):
    mix = Mix(Scores({}), weight=weight)
    assert type(mix.weight) is float and mix.weight == float(weight) == mix.get_parameter("weight")


def test_two_mixes_are_equal_by_their_arguments_and_a_tuned_one_keeps_its_hash():
    scores = Scores({})
    one, same, other = Mix(scores, 0.5), Mix(scores, 0.5), Mix(scores, 0.6)
    assert one == same and hash(one) == hash(same) and one != other and one != MinMax() and MinMax() == MinMax()
    before = hash(one)
    one.weight = 0.6
    assert hash(one) == before and one == other
    assert repr(Mix(MinMax(), 0.3)) == "Mix(MinMax(), weight=0.3)"


def test_a_hash_survives_tuning_inside():
    inner = Mix(MinMax(), 0.5)
    outer = Mix(inner, 0.5)
    before = hash(outer)
    inner.weight = 0.1
    assert hash(outer) == before


def test_copies_are_apart_and_pickles_come_home():
    inner = Mix(MinMax(), 0.5)
    outer = Mix(inner, 0.5)
    deep = copy.deepcopy(outer)
    assert deep == outer and deep is not outer and deep.reranker is not inner
    deep.reranker.weight = 0.1
    assert inner.weight == 0.5
    assert pickle.loads(pickle.dumps(outer)) is outer
    assert copy.copy(outer) == outer and copy.copy(outer) is not outer


@pytest.fixture(autouse=True, scope="module")
def no_reports():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PT_TEST_TRANSFORMER_REPORTS", "0")
        yield


class TestMinMaxConforms(pt.testing.transformer_test_class(MinMax)):
    pass


class TestMixConforms(pt.testing.transformer_test_class(lambda: Mix(Scores({})))):
    pass


@pytest.mark.parametrize("column", ["docno", "score", "text"])
def test_a_column_that_comes_twice_is_named(column):
    frame = pd.DataFrame({"qid": ["1"], "query": ["a"], "docno": ["d"], "text": ["t"], "score": [1.0]})
    frame = pd.concat([frame, frame[[column]]], axis=1)
    qrels = pd.DataFrame([["1", "d", 1]], columns=["qid", "docno", "label"])
    again = pd.concat([qrels, qrels[["label"]]], axis=1)
    for act in (lambda: MinMax()(frame), lambda: Mix(MinMax(), 0.5)(frame),
                lambda: TaskArithReranker("ranker", vectors={})(frame),
                lambda: compare([("a", frame), ("b", frame)], qrels, ["nDCG"])):
        with pytest.raises(DataError, match=f"the column '{column}' more than once"):
            act()
    with pytest.raises(DataError, match="qrels has the column 'label' more than once"):
        compare([("a", frame.iloc[:, :5]), ("b", frame.iloc[:, :5])], again, ["nDCG"])
