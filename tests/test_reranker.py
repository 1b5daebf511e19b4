"""The re-ranker is a citizen of PyTerrier: frames, arguments, inspection, bad input."""

import inspect
import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import torch

from pyterrier_taskarith import Checkpoint, MinMax, Mix, TaskArithReranker, TaskVector
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.fusion import with_scores
from pyterrier_taskarith.scorers import ScorerError
from testing import bert_triple, t5_triple
from tests.reranking import frame, reranker

NOWHERE = ("nowhere/ranker", "nowhere/domain", "nowhere/base")


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def r(triple):
    return reranker(triple)


@pytest.fixture(autouse=True, scope="module")
def no_reports():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PT_TEST_TRANSFORMER_REPORTS", "0")
        yield


class TestConforms(pt.testing.transformer_test_class(lambda: TaskArithReranker(*NOWHERE))):
    pass


# frames ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("column", ["qid", "query", "docno", "text"])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_missing_column_is_named_with_the_transformer(r, column, rows):
    with pytest.raises(pt.validate.InputValidationError, match=r"TaskArithReranker.*") as caught:
        r.transform(frame().drop(columns=column).head(rows))
    assert caught.value.modes[0].missing_columns == [column]


def test_the_text_column_is_the_users(triple):
    body = frame().rename(columns={"text": "body"})
    with pytest.raises(pt.validate.InputValidationError, match="body"):
        reranker(triple, text_field="body").transform(frame())
    np.testing.assert_array_equal(reranker(triple, text_field="body").transform(body)["score"],
                                  reranker(triple).transform(frame())["score"])


@pytest.mark.parametrize("columns", [["qid", "query", "docno", "text"],
                                     ["qid", "query", "docno", "text", "score", "rank", "extra"]])
def test_no_rows_give_the_right_columns_and_load_nothing(columns):
    r = TaskArithReranker(*NOWHERE)
    out = r.transform(pd.DataFrame(columns=columns))
    assert len(out) == 0 and set(out.columns) == {*columns, "score", "rank"}
    assert out["score"].dtype == "float64" and out["rank"].dtype == "int64"
    assert not r._loaded


def test_inspection_loads_nothing():
    r = TaskArithReranker(*NOWHERE)
    assert pt.inspect.transformer_inputs(r) == [["qid", "docno", "query", "text"]]
    assert pt.inspect.transformer_outputs(r, ["qid", "query", "docno", "text"])[-2:] == ["score", "rank"]
    assert repr(r) and hash(r) and r == r.copy() and pt.schematic.transformer_schematic(r)
    assert not r._loaded


INDICES = {
    "of duplicates": lambda n: pd.Index([7] * n),
    "of strings": lambda n: pd.Index([f"row {i}" for i in range(n)], name="row"),
    "reversed": lambda n: pd.RangeIndex(n, 0, -1),
    "of two levels": lambda n: pd.MultiIndex.from_product([range(n // 6), list("abcdef")], names=["x", "y"]),
    "of times": lambda n: pd.date_range("2020-01-01", periods=n),
    "with NaN": lambda n: pd.Index([math.nan, *range(n - 1)]),
}


@pytest.mark.parametrize("index", INDICES)
def test_rows_index_and_other_columns_stay_and_the_input_is_left_alone(r, index):
    given = frame().sample(frac=1, random_state=1)
    plain = r.transform(given.reset_index(drop=True))
    given = given.assign(number=np.arange(len(given), dtype=np.int32), kind=pd.Categorical(["a", "b"] * 9),
                         when=pd.Timestamp("2020-01-01"), some=[[1]] * len(given))
    given.index = INDICES[index](len(given))
    before, order = given.copy(deep=True), list(given.columns)
    out = r.transform(given)
    pd.testing.assert_frame_equal(given, before)
    assert list(given.columns) == order
    kept = [column for column in order if column not in ("score", "rank")]
    pd.testing.assert_frame_equal(out[kept], before[kept])
    assert out["score"].dtype == "float64" and out["rank"].dtype == "int64"
    np.testing.assert_array_equal(out["score"], plain["score"])
    np.testing.assert_array_equal(out["rank"], plain["rank"])


def test_ranks_start_at_0_in_each_query_and_follow_the_scores(r):
    for _, part in r.transform(frame()).groupby("qid"):
        assert part.sort_values("rank")["score"].is_monotonic_decreasing
        assert sorted(part["rank"]) == list(range(6))


def test_lists_of_dictionaries_are_scored_too(r):
    rows = frame().to_dict(orient="records")
    assert [row["score"] for row in r(rows)] == r.transform(frame())["score"].tolist()


def test_nothing_of_ours_warns(triple):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = reranker(triple, alpha=0.123)
        fresh.transform(frame())
        fresh.transform(frame().iloc[:0])
        fresh.alpha = 0.3
        (0.5 * fresh).transform(frame())


def test_the_filter_around_pyterriers_add_ranks_lets_all_other_warnings_through(monkeypatch):
    source = "import warnings\ndef warn(frame):\n    warnings.warn(message, category)\n    return frame\n"

    def add_ranks(message: str, category: type[Warning], module: str):
        space = {"__name__": module, "message": message, "category": category}
        exec(source, space)
        return space["warn"]

    inplace = "The inplace keyword in DataFrame.drop is deprecated and will be removed"
    monkeypatch.setattr(pt.model, "add_ranks", add_ranks(inplace, DeprecationWarning, "pyterrier.model"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_scores(frame(), [0.0] * 18)
    for message, category, module in ((inplace, DeprecationWarning, "pyterrier_taskarith.reranker"),
                                      (inplace, DeprecationWarning, "pyterrier.terrier"),
                                      (inplace, UserWarning, "pyterrier.model"),
                                      ("Another thing is deprecated", DeprecationWarning, "pyterrier.model"),
                                      ("Another thing is deprecated", FutureWarning, "pyterrier.model")):
        monkeypatch.setattr(pt.model, "add_ranks", add_ranks(message, category, module))
        with pytest.warns(category, match=message):
            with_scores(frame(), [0.0] * 18)


def test_code_that_folders_name_is_refused_unless_their_configurations_are_trusted(tmp_path):
    triple = bert_triple(tmp_path)
    folders = (triple.ranker, triple.domain, triple.base)
    inp = frame().assign(text="cells grow")
    expected = TaskArithReranker(*folders, alpha=0.5, verbose=False).transform(inp)["score"]
    for folder in folders:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Both"}}))
    with pytest.raises(CheckpointError, match="auto_map: modeling.Both.*trust_config=True"):
        TaskArithReranker(*folders, verbose=False).transform(inp)
    ranker, domain, base = (Checkpoint(folder, trust_config=True) for folder in folders)
    for r in (TaskArithReranker(*folders, alpha=0.5, trust_config=True, verbose=False),
              TaskArithReranker(ranker, vectors=TaskVector(domain, base), alpha=0.5, verbose=False)):
        assert r.transform(inp)["score"].tolist() == expected.tolist() and r.trust_config
        merged = TaskArithReranker(r.save(tmp_path / "merged", overwrite=True), vectors={}, trust_config=True,
                                   verbose=False)
        assert merged.transform(inp)["score"].tolist() == expected.tolist()


# arguments ---------------------------------------------------------------------------------------------------------

CHANGED = {"ranker": "other/ranker", "domain": "other/domain", "base": "other/base", "alpha": 0.25, "variant": "ranker",
           "scorer": "seq2seq", "layers": "0-1", "truncation": "paper", "dtype": "bfloat16", "device": "cpu",
           "token_false": "▁no", "token_true": "▁yes", "batch_tokens": 77, "max_length": 99, "text_field": "body",
           "text_loader": len, "weights": "disk", "cache": "folder", "trust_config": True,
           "verbose": False}

#: Other spellings of arguments, which are kept as the present ones.
FORMER = ("prediction_tokens", "resident")


def test_every_argument_is_seen_by_inspection_and_can_be_applied():
    r = TaskArithReranker(*NOWHERE)
    seen = {attribute.name: attribute.value for attribute in pt.inspect.transformer_attributes(r)}
    assert list(seen) == [name for name in inspect.signature(TaskArithReranker.__init__).parameters if name != "self"]
    assert {*CHANGED, "vectors", *FORMER} == set(seen) and all(seen[name] is None for name in FORMER)
    assert pt.inspect.transformer_apply_attributes(r) == r
    for name, value in CHANGED.items():
        other = pt.inspect.transformer_apply_attributes(r, **{name: value})
        assert getattr(other, name) == value == other.configuration()[name]
        assert other != r and repr(other) != repr(r), name
        assert (hash(other) == hash(r)) == (name == "alpha"), name
        assert pt.inspect.transformer_apply_attributes(other, **{name: seen[name]}) == r


def test_vectors_are_seen_by_inspection_and_can_be_applied():
    bio, german = TaskVector("a/b", "c/d"), TaskVector("e/f", "c/d")
    r = TaskArithReranker("x/y", vectors={"bio": bio, "de": german}, alpha={"de": 0.3, "bio": 0.7})
    again = pt.inspect.transformer_apply_attributes(r)
    assert again == r and hash(again) == hash(r) and again.alpha == {"bio": 0.7, "de": 0.3}
    turned = TaskArithReranker("x/y", vectors={"de": german, "bio": bio}, alpha={"bio": 0.7, "de": 0.3})
    assert turned == r and hash(turned) == hash(r)
    assert TaskArithReranker("x/y", vectors={"bio": bio, "de": 2 * german}, alpha=r.alpha) != r


def test_a_mapping_given_or_handed_out_is_a_copy():
    given, alphas = {"bio": TaskVector("a/b", "c/d")}, {"bio": 0.7}
    r = TaskArithReranker("x/y", vectors=given, alpha=alphas)
    given["de"], alphas["bio"] = TaskVector("e/f", "c/d"), 9.0
    r.alpha["bio"] = 9.0
    assert list(r.vectors) == ["bio"] and r.alpha == {"bio": 0.7}


def test_the_representation_is_short_and_shows_what_is_not_default():
    r = TaskArithReranker(*NOWHERE, alpha=0.7)
    assert repr(r) == "TaskArithReranker('nowhere/ranker', 'nowhere/domain', 'nowhere/base', alpha=0.7)"
    assert repr(r) == repr(TaskArithReranker(*NOWHERE, alpha=0.7)) == str(r)
    assert "alpha=1)" in repr(r.copy(alpha=1.0)) and "alpha=0.1234567)" in repr(r.copy(alpha=0.1234567))
    assert repr(r.copy(variant="base", batch_tokens=64)).endswith("alpha=0.7, variant='base', batch_tokens=64)")


@pytest.mark.parametrize("options", [
    {}, {"alpha": 1 / 3}, {"alpha": -2}, {"alpha": {"default": 0.7, "layers 8-11": 1.0}}, {"alpha": np.float32(0.1)},
    {"batch_tokens": np.int64(64), "max_length": 99}, {"cache": Path("/a/long/way/to/the/scores"), "verbose": False},
    {"prediction_tokens": ("▁no", "▁yes"), "weights": "disk", "scorer": "seq2seq"},
    {"layers": "0-5", "variant": "base"},
])
def test_the_representation_evaluates(options):
    for models in (NOWHERE, ("/a/long/way/to/the/ranker", "/a/long/way/to/the/domain", "/a/long/way/to/the/base")):
        r = TaskArithReranker(*models, **options)
        for made in (r, Mix(r), Mix(Mix(r, 0.25), weight=1 / 3), MinMax()):
            assert eval(repr(made)) == made


def test_the_representation_of_vectors_evaluates():
    bio, german = TaskVector("/a/long/way/to/the/domain", "c/d"), TaskVector("e/f@main", "c/d")
    for vectors, alpha in (({}, 1), (bio, 0.7), (bio.trim(0.2) + 0.5 * german.layers("0-3"), 0.7),
                           ({"bio": bio, "de": 2 * german}, {"bio": 0.5, "de": {"default": 0, "0": 0.3}})):
        r = TaskArithReranker("x/y", vectors=vectors, alpha=alpha)
        assert eval(repr(r)) == r, repr(r)


def test_the_schematic_is_short_and_needs_no_network():
    assert len(TaskArithReranker.schematic["label"]) <= 20
    assert TaskArithReranker.schematic["help_url"].startswith("https://")


@pytest.mark.parametrize(("options", "message"), [
    ({"domain": "a/b"}, "both domain .* and base"),
    ({"base": "a/b"}, "both domain .* and base"),
    ({}, "both domain .* and base"),
    ({"domain": "a/b", "base": "c/d", "vectors": TaskVector("a/b", "c/d")}, "both domain .* and base"),
    ({"vectors": {}, "alpha": 0.5}, "without a vector α does nothing"),
    ({"vectors": {"bio": "a/b"}}, "bio is 'a/b': give a TaskVector"),
    ({"vectors": "a/b"}, "vectors is 'a/b': give a TaskVector"),
])
def test_vectors_are_stated_once(options, message):
    with pytest.raises(ValueError, match=message):
        TaskArithReranker("x/y", **options)


@pytest.mark.parametrize(("name", "value"), [
    ("scorer", "colbert"), ("truncation", "middle"), ("dtype", "float64"), ("weights", "stream"),
    ("batch_tokens", 0), ("batch_tokens", 1.5), ("batch_tokens", True), ("max_length", -1), ("max_length", "512"),
    ("variant", "Θ_T"), ("variant", "domain.other"), ("variant", "merged.domain"), ("variant", "ranker.domain"),
    ("variant", "domain."), ("layers", "first"), ("layers", "5-2"), ("token_true", 1), ("token_false", ""),
    ("prediction_tokens", ("▁yes",)), ("prediction_tokens", "▁yes"),
])
def test_a_value_that_is_none_of_the_choices_is_named(name, value):
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r}")):
        TaskArithReranker(*NOWHERE, **{name: value})


def test_prediction_tokens_may_be_given_as_a_pair():
    pair = TaskArithReranker(*NOWHERE, prediction_tokens=("▁no", "▁yes"))
    assert pair == TaskArithReranker(*NOWHERE, token_false="▁no", token_true="▁yes") and pair.token_true == "▁yes"
    with pytest.raises(ValueError, match="either token_false and token_true, or prediction_tokens"):
        TaskArithReranker(*NOWHERE, prediction_tokens=("▁no", "▁yes"), token_true="▁ja")
    with pytest.raises(ValueError, match="token_false and token_true are both '▁yes'"):
        TaskArithReranker(*NOWHERE, prediction_tokens=("▁yes", "▁yes"))


@pytest.mark.parametrize(("former", "present"), [("stream", "disk"), ("memory", "memory"), ("auto", "auto")])
def test_the_former_name_of_weights_still_works(former, present):
    with pytest.warns(DeprecationWarning, match=rf"resident='{former}' is now weights='{present}'"):
        r = TaskArithReranker(*NOWHERE, resident=former)
    assert r.weights == present and r == TaskArithReranker(*NOWHERE, weights=present)


@pytest.mark.parametrize("value", [True, False, 1, ["scores"], b"scores"])
def test_a_cache_that_is_no_folder_is_refused(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"cache={re.escape(repr(value))}: give a folder, such as cache='scores'"):
        TaskArithReranker(*NOWHERE, cache=value)
    assert not list(tmp_path.iterdir())


def test_whole_numbers_may_be_numpys():
    assert TaskArithReranker(*NOWHERE, batch_tokens=np.int64(64)).batch_tokens == 64


def test_only_alpha_can_be_set_on_a_living_reranker(r):
    for name in ("ranker", "layers", "dtype", "text_field"):
        with pytest.raises(ValueError, match=rf"{name} cannot be changed .* r.copy\({name}=…\)"):
            r.set_parameter(name, "x")
    with pytest.raises(ValueError, match="Invalid parameter name beta"):
        r.set_parameter("beta", 1)
    with pytest.raises(ValueError, match="Invalid parameter name alpha.bio"):
        r.get_parameter("alpha.bio")


# bad input ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", [None, math.nan, pd.NA, 3, b"bytes", "half \ud800"],
                         ids=["None", "NaN", "NA", "number", "bytes", "surrogate"])
@pytest.mark.parametrize("column", ["text", "query"])
def test_what_is_no_text_is_named_by_docno(r, column, value):
    given = frame().astype({"text": object, "query": object})
    given.loc[given["docno"].isin(["d1", "d4"]) & (given["qid"] == "q2"), column] = value
    with pytest.raises(ValueError, match=rf"'{column}' holds no text .* for 2 rows, docno d1, d4; fill it"):
        r.transform(given)


def test_many_rows_without_text_are_not_all_listed(r):
    with pytest.raises(ValueError, match=r"for 18 rows, docno d0, d1, d2, d3, d4 …; fill it"):
        r.transform(frame().assign(text=None))


def test_a_rewritten_query_is_warned_of(r):
    with pytest.warns(UserWarning, match=r"query_0.*pt.rewrite.reset\(\)"):
        r.transform(frame().assign(query_0="What's IL-6?"))


def test_empty_queries_and_texts_and_very_long_ones_are_scored(r):
    given = frame(1, 4).assign(query=["", "cell", "", "cell"], text=["", "", "word " * 20_000, "x" * 100_000])
    assert np.isfinite(r.transform(given)["score"]).all()


def test_scores_that_are_not_finite_are_an_error(triple):
    given = reranker(triple, batch_tokens=513)
    given.transform(frame())
    with torch.no_grad():
        given.model.scorer.module.encoder.layer[0].output.dense.weight[0, 0] = math.inf
    with pytest.raises(ScorerError, match="6 of 6 scores are NaN or infinite"):
        given.transform(frame(1, 6).assign(text=[f"new {i}" for i in range(6)]))


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path, triple):
    with pytest.raises(ValueError, match="is not a checkpoint"):
        TaskArithReranker(tmp_path, triple.domain, triple.base).transform(frame())


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_after_forgetting_the_same_call_scores_anew_and_gives_the_same_bits(tmp_path, family):
    made = reranker(bert_triple(tmp_path) if family == "bert" else t5_triple(tmp_path))
    rows = frame(2, 12)
    before = made.transform(rows)["score"]
    scored = made.model.scorer.pairs_scored
    made.model.forget()
    made.transform(rows.tail(5))  # in other batches
    made.model.forget()
    assert made.transform(rows)["score"].tolist() == before.tolist()
    assert made.model.scorer.pairs_scored == 2 * scored + 5
    if family == "bert":
        assert made.model.scorer.texts_embedded == 2 * (2 + 12) + 6
