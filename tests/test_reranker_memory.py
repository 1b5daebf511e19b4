"""What the re-ranker remembers: scores in the process, scores on disk, itself across processes."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import pyterrier_taskarith
from pyterrier_taskarith import Mix, TaskArithReranker, TaskVector
from pyterrier_taskarith._score_cache import CacheError, ScoreCache
from pyterrier_taskarith.scorers import _loaded
from testing import Triple, bert_triple, lora_adapter, t5_triple
from tests.reranking import assert_scores_agree, frame, reference, reranker


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def own(triple, tmp_path):
    """A triple that a test may edit."""
    return Triple(*(Path(shutil.copytree(getattr(triple, role), tmp_path / role))
                    for role in ("ranker", "domain", "base")))


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """Hashes of files are remembered in a folder of the test's own."""
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "home"))


def scored(r: TaskArithReranker) -> int:
    return r.model.scorer.pairs_scored


def scale(folder: Path, factor: float) -> None:
    """Changes one matrix in a folder's weights."""
    path = folder / "model.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.endswith("layer.1.output.dense.weight"))
    state[name] = state[name] * factor
    save_file(state, path, metadata={"format": "pt"})


# in the process ----------------------------------------------------------------------------------------------------

def test_a_pair_is_scored_once_per_weights(triple):
    r = reranker(triple, batch_tokens=600)
    first = r.transform(frame())["score"]
    assert scored(r) == 18
    np.testing.assert_array_equal(r.transform(frame())["score"], first)
    np.testing.assert_array_equal(r.transform(frame().assign(docno="renamed", qid="same"))["score"], first)
    assert scored(r) == 18
    r.transform(frame(4, 6))
    assert scored(r) == 18 + 6
    r.alpha = 0.2
    r.transform(frame())
    assert scored(r) == 18 + 6 + 18
    r.alpha = 1.0
    np.testing.assert_array_equal(r.transform(frame())["score"], first)
    assert scored(r) == 18 + 6 + 18


def test_a_pair_that_comes_twice_is_scored_once(triple):
    r = reranker(triple, batch_tokens=601)
    given = frame()
    twice = given.loc[[*given.index, *given.index]]
    out = r.transform(twice.assign(docno=[f"{i}" for i in range(36)]))["score"].to_numpy()
    assert scored(r) == 18
    np.testing.assert_array_equal(out[:18], out[18:])


def test_the_same_docno_with_another_text_is_another_pair(triple):
    r = reranker(triple, batch_tokens=602)
    given = frame()
    r.transform(given)
    edited = given.assign(text=given["text"].where(given["docno"] != "d2", "an edited text"))
    assert_scores_agree(r.transform(edited)["score"], reference_of(r, edited))
    assert scored(r) == 18 + 3


def reference_of(r: TaskArithReranker, given) -> np.ndarray:
    fresh = r.copy(max_length=64)  # what the folder states: the same scores by a model of its own
    assert fresh.model is not r.model
    return fresh.transform(given)["score"].to_numpy()


def test_a_query_is_not_taken_for_a_text(triple):
    r = reranker(triple, batch_tokens=603)
    one = frame(1, 1).assign(query="cell", text="growth")
    forth, back = r.transform(one)["score"][0], r.transform(one.assign(query="growth", text="cell"))["score"][0]
    assert scored(r) == 2
    # a cosine without prompts is symmetric, so that both are right
    assert forth == pytest.approx(back, abs=1e-6)


def test_the_memory_is_bounded_and_forgets_the_longest_unused(triple):
    r = reranker(triple, batch_tokens=604)
    memo = r.model._memo
    expected = r.transform(frame(20, 20))["score"]
    assert len(memo) == 400 and memo._bytes == 400 * (memo.entry_overhead + 8)
    memo.max_bytes = 100 * (memo.entry_overhead + 8)
    np.testing.assert_array_equal(r.transform(frame(20, 20))["score"], expected)
    r.alpha = 0.5
    r.transform(frame(5, 15))
    assert len(memo) == 100
    before = scored(r)
    r.transform(frame(5, 15))
    assert scored(r) == before
    r.alpha = 1.0
    r.transform(frame(20, 20))
    assert scored(r) > before and len(memo) == 100


# files that change -------------------------------------------------------------------------------------------------

def test_changed_weights_are_noticed_by_a_new_reranker(own):
    old = reranker(own, alpha=0.7)
    before = old.transform(frame())["score"].to_numpy()
    vector = TaskVector(own.domain, own.base)
    through_vector = TaskArithReranker(own.ranker, vectors=vector, alpha=0.7, verbose=False)
    np.testing.assert_array_equal(through_vector.transform(frame())["score"], before)
    scale(own.domain, 1.5)
    after = reranker(own, alpha=0.7).transform(frame())["score"].to_numpy()
    assert np.abs(after - before).max() > 1e-4
    again = TaskArithReranker(own.ranker, vectors=vector, alpha=0.7, verbose=False)
    np.testing.assert_array_equal(again.transform(frame())["score"], after)
    scale(own.ranker, 1.5)
    assert np.abs(reranker(own, alpha=0.7).transform(frame())["score"] - after).max() > 1e-4


@pytest.mark.parametrize(("file", "key", "value"), [
    ("1_Pooling/config.json", "pooling_mode_cls_token", True),
    ("sentence_bert_config.json", "max_seq_length", 5),
    ("config_sentence_transformers.json", "similarity_fn_name", "dot"),
    ("config_sentence_transformers.json", "prompts", {"query": "find: "}),
])
@pytest.mark.parametrize("cached", [False, True])
def test_a_changed_configuration_is_noticed_by_a_new_reranker(own, tmp_path, file, key, value, cached):
    options = {"variant": "ranker", "cache": tmp_path / "scores" if cached else None}
    old = reranker(own, **options)
    old.transform(frame())
    path = own.ranker / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    new = reranker(own, **options)
    np.testing.assert_allclose(new.transform(frame())["score"], reference(own.ranker, frame()), atol=1e-5, rtol=1e-5)


# on disk -----------------------------------------------------------------------------------------------------------

def test_cached_scores_are_the_same_and_are_not_computed_again(triple, tmp_path):
    r = reranker(triple, alpha=0.7, cache=tmp_path / "scores")
    first = r.transform(frame())["score"]
    np.testing.assert_array_equal(first, reranker(triple, alpha=0.7).transform(frame())["score"])
    again = reranker(triple, alpha=0.7, cache=tmp_path / "scores", batch_tokens=99)  # another living model
    np.testing.assert_array_equal(again.transform(frame())["score"], first)
    assert scored(again) == 0 and len(ScoreCache(tmp_path / "scores")) == 18
    again.transform(frame(4, 6))
    assert scored(again) == 6 and len(ScoreCache(tmp_path / "scores")) == 24


def test_a_cache_that_fails_during_the_work_is_told_and_does_not_end_it(triple, tmp_path, monkeypatch):
    plain = reranker(triple, alpha=0.7).transform(frame())["score"]
    r = reranker(triple, alpha=0.7, cache=tmp_path / "scores")

    def full(*_: object) -> None:
        raise CacheError("scores.sqlite3: the disk is full")

    monkeypatch.setattr(ScoreCache, "put", full)
    with pytest.warns(UserWarning, match="the disk is full. The scoring goes on; no score is written there any more"):
        found = r.transform(frame())["score"]
    np.testing.assert_array_equal(found, plain)
    assert len(ScoreCache(tmp_path / "scores")) == 0


def test_the_cache_is_not_fooled(own, tmp_path):
    folder = tmp_path / "scores"
    r = reranker(own, alpha=0.7, cache=folder)
    r.transform(frame())

    def equals_uncached(**options: object) -> None:
        cached = reranker(own, cache=folder, **options)
        plain = reranker(own, **options)
        np.testing.assert_array_equal(cached.transform(frame())["score"], plain.transform(frame())["score"])

    for options in ({"alpha": 0.7000000001}, {"alpha": -0.7}, {"variant": "base"}, {"variant": "domain"},
                    {"variant": "ranker"}, {"alpha": 0}, {"alpha": 0.7, "layers": "0"}, {"alpha": 0.7, "max_length": 6},
                    {"alpha": 0.7, "dtype": "float16"}):
        equals_uncached(**options)
    edited = frame().assign(text=lambda f: f["text"] + " and more")
    np.testing.assert_array_equal(reranker(own, alpha=0.7, cache=folder).transform(edited)["score"],
                                  reranker(own, alpha=0.7).transform(edited)["score"])
    for role in (own.domain, own.base, own.ranker):
        scale(role, 1.25)
        equals_uncached(alpha=0.7)


def test_the_cache_sees_what_stands_beside_the_weights(own, tmp_path):
    modules = json.loads((own.ranker / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (own.ranker / "modules.json").write_text(json.dumps(modules))
    (own.ranker / "2_Dense").mkdir()
    (own.ranker / "2_Dense" / "config.json").write_text(json.dumps({
        "in_features": 32, "out_features": 8, "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity"}))
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        save_file({"linear.weight": torch.randn(8, 32, generator=generator)}, own.ranker / "2_Dense" /
                  "model.safetensors")
        cached = reranker(own, variant="ranker", cache=tmp_path / "scores").transform(frame())["score"]
        np.testing.assert_allclose(cached, reference(own.ranker, frame()), atol=1e-5)


def test_the_cache_sees_another_tokenizer(own, tmp_path):
    upper = frame().assign(text=frame()["text"].str.upper())
    cased = []
    for _ in range(2):
        scores = reranker(own, variant="ranker", cache=tmp_path / "scores").transform(upper)["score"]
        np.testing.assert_allclose(scores, reference(own.ranker, upper), atol=1e-5)
        cased.append(scores)
        for name, key in (("tokenizer.json", "lowercase"), ("tokenizer_config.json", "do_lower_case")):
            path = own.ranker / name
            path.write_text(path.read_text().replace(f'"{key}": true', f'"{key}": false'))
    assert np.abs(cased[0] - cased[1]).max() > 1e-3


def test_the_cache_sees_another_tokenizer_of_an_adapter(own, tmp_path):
    adapter = tmp_path / "adapter"
    lora_adapter(adapter, own.ranker, targets=["query", "value"])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(own.ranker / name, adapter)

    def adapted(**options: object) -> np.ndarray:
        r = TaskArithReranker(adapter, vectors={}, verbose=False, **options)
        return r.transform(frame())["score"].to_numpy()

    before = adapted(cache=tmp_path / "scores")
    tokens = json.loads((adapter / "tokenizer.json").read_text())
    vocabulary = tokens["model"]["vocab"]
    words = [word for word in vocabulary if word.isalpha()]
    for one, another in zip(words[::2], words[1::2], strict=False):
        vocabulary[one], vocabulary[another] = vocabulary[another], vocabulary[one]
    (adapter / "tokenizer.json").write_text(json.dumps(tokens))
    after = adapted(cache=tmp_path / "scores")
    assert_scores_agree(after, adapted())
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.parametrize(("name", "value"), [("SCORING", 10**6), ("version", lambda package: "1000.0")])
def test_the_cache_sees_another_version_of_what_scores(triple, tmp_path, monkeypatch, name, value):
    r = reranker(triple, alpha=0.7, cache=tmp_path / "scores")
    r.transform(frame())
    monkeypatch.setattr(_loaded, name, value)
    r.model.forget()
    r.transform(frame())
    assert scored(r) == 2 * 18 and len(ScoreCache(tmp_path / "scores").entries()) == 2


def test_the_cache_sees_changed_weights_through_a_vector_that_is_used_again(own, tmp_path):
    vector = TaskVector(own.domain, own.base)
    for factor in (1.0, 1.5, 0.5):
        scale(own.domain, factor)
        made = {"vectors": vector, "alpha": 0.7, "verbose": False}
        cached = TaskArithReranker(own.ranker, cache=tmp_path / "scores", **made)
        np.testing.assert_array_equal(cached.transform(frame())["score"],
                                      reranker(own, alpha=0.7).transform(frame())["score"])


def test_the_cache_tells_truncations_apart(tmp_path):
    triple = t5_triple(tmp_path / "t5")
    given = frame(1, 2).assign(text=["cell growth " * 600, "growth"])
    for truncation in ("keep_prompt", "paper"):
        cached = reranker(triple, truncation=truncation, cache=tmp_path / "scores").transform(given)["score"]
        np.testing.assert_array_equal(cached, reranker(triple, truncation=truncation).transform(given)["score"])
    assert len(ScoreCache(tmp_path / "scores")) == 4


def test_the_cache_holds_for_the_same_weights_elsewhere(triple, own, tmp_path):
    reranker(triple, alpha=0.7, cache=tmp_path / "scores").transform(frame())
    moved = reranker(own, alpha=0.7, cache=tmp_path / "scores")
    moved.transform(frame())
    assert scored(moved) == 0


# across processes --------------------------------------------------------------------------------------------------

def test_a_pickle_is_small_and_comes_back_as_the_original(triple):
    r = reranker(triple, alpha=0.7)
    r.transform(frame())
    mix = Mix(r, 0.3)
    for one in (r, mix, *r.variants().values()):
        data = pickle.dumps(one)
        assert len(data) < 10_000
        assert pickle.loads(data) is one
    variants = {"a": r, "b": mix}
    assert pickle.loads(pickle.dumps(variants))["b"].reranker is r


def test_a_pickle_whose_original_is_gone_comes_back_equal(triple):
    r = reranker(triple, alpha=0.7)
    r.alpha = 0.2
    data, wanted = pickle.dumps(r), r.transform(frame())["score"]
    del r
    back = pickle.loads(data)
    assert back == reranker(triple, alpha=0.2)
    np.testing.assert_array_equal(back.transform(frame())["score"], wanted)


def test_deep_copies_are_apart_and_share_the_model(triple):
    r = reranker(triple, alpha=0.7)
    for other in (copy.deepcopy(r), copy.copy(r)):
        assert other == r and other is not r and other.model is r.model
        other.alpha = 0.1
        assert r.alpha == 0.7
    pipeline = r >> Mix(r, 0.5)
    deep = copy.deepcopy(pipeline)
    assert deep[0] is deep[1].reranker is not r  # one re-ranker stays one
    deep[0].alpha = 0.9
    assert pipeline[1].reranker.alpha == 0.7


#: A process that takes a pickled re-ranker, scores a frame and hands both back.
ELSEWHERE = """
import pickle, sys
r, mix, given = pickle.load(open(sys.argv[1], "rb"))
out = r.transform(given)["score"].tolist()
pickle.dump((r, mix, mix.reranker is r, repr(r), out, r.model.scorer.pairs_scored), open(sys.argv[2], "wb"))
"""


@pytest.mark.slow
def test_another_process_gets_an_equal_reranker_and_the_same_cached_scores(own, tmp_path):
    vectors = {"bio": TaskVector(own.domain, own.base), "twice": 2 * TaskVector(own.domain, own.base)}
    r = TaskArithReranker(own.ranker, vectors=vectors, alpha={"bio": 0.5, "twice": -0.125}, cache=tmp_path / "scores",
                          verbose=False)
    mix = Mix(r, 0.3)
    (tmp_path / "there").write_bytes(pickle.dumps((r, mix, frame())))
    root = str(Path(pyterrier_taskarith.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path / "there"), str(tmp_path / "back")], check=True,
                   env=environment, timeout=240)
    back, mix_back, one, shown, there, scored_there = pickle.loads((tmp_path / "back").read_bytes())
    assert back is r and mix_back is mix and one
    assert shown == repr(r) and scored_there == 18
    np.testing.assert_array_equal(r.transform(frame())["score"], there)
    assert scored(r) == 0  # all of them came from the cache
    uncached = r.copy(cache=None).transform(frame())["score"]
    assert_scores_agree(there, uncached)
