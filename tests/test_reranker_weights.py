"""Θ' = Θ_T + α(Θ_D − Θ_0) is what scores, for every α, vector and variant, by one living model."""

import gc
import math
import threading
import weakref
from pathlib import Path

import numpy as np
import pyterrier as pt
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyterrier_taskarith import TaskArithReranker, TaskVector
from pyterrier_taskarith.scorers import _loaded
from testing import bert_triple, t5_triple
from tests.reranking import (
    assert_scores_agree,
    bare_state,
    by_hand,
    frame,
    needs_bfloat16,
    reference,
    reranker,
    with_weights_of,
)
from tests.scorers.reference import t5_scores


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A second pair of Θ_D and Θ_0, for a second vector."""
    return bert_triple(tmp_path_factory.mktemp("other"), seed=1)


def scores(r: TaskArithReranker) -> np.ndarray:
    return r.transform(frame())["score"].to_numpy()


# α -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("alpha", [1.0, 0.3, -0.5, 2.5])
def test_scores_are_those_of_weights_merged_by_hand(triple, tmp_path, alpha):
    folder = by_hand(triple.ranker, tmp_path / "merged", [(alpha, triple.domain, triple.base)])
    np.testing.assert_allclose(scores(reranker(triple, alpha=alpha)), reference(folder, frame()), atol=1e-5)


def test_t5_scores_are_those_of_weights_merged_by_hand(tmp_path):
    triple = t5_triple(tmp_path)
    folder = by_hand(triple.ranker, tmp_path / "merged", [(0.4, triple.domain, triple.base)])
    given = frame()
    prompts = [f"Query: {row.query} Document: {row.text} Relevant:" for row in given.itertuples()]
    expected = t5_scores(folder, prompts, ("▁false", "▁true"))
    np.testing.assert_allclose(scores(reranker(triple, alpha=0.4)), expected, atol=1e-5)


def test_alpha_zero_is_the_ranker_bit_for_bit(triple):
    r = reranker(triple, alpha=1.0)
    scores(r)
    r.alpha = 0
    np.testing.assert_array_equal(scores(r), scores(r.copy(variant="ranker")))
    state = load_file(triple.ranker / "model.safetensors")
    for name, parameter in r.model.scorer.module.named_parameters():
        assert torch.equal(parameter, state[name]), name


def test_alpha_is_merged_at_the_next_rows_and_only_if_it_changed(triple):
    r = reranker(triple, alpha=0.5)
    weights = r.model.weights
    assert weights.switches == 0
    scores(r)
    assert weights.switches == 1
    r.alpha = 0.9
    r.transform(frame().iloc[:0])
    assert weights.switches == 1 and weights.current.alphas == (("domain", 0.5),)
    r.alpha = 0.5
    r.transform(frame(2, 7))
    assert weights.switches == 1
    r.alpha = 0.9
    scores(r)
    assert weights.switches == 2 and weights.current.alphas == (("domain", 0.9),)


def test_scores_after_many_changes_are_those_of_a_fresh_reranker(triple):
    r = reranker(triple)
    for alpha in np.random.default_rng(0).uniform(-2, 2, size=20):
        r.alpha = alpha
        r.transform(frame(1, 2))
    r.alpha = 0.7
    np.testing.assert_array_equal(scores(r), scores(reranker(triple, alpha=0.7, batch_tokens=2048)))


@pytest.mark.parametrize("alpha", [np.float32(0.5), np.float64(0.5), np.float16(0.5), np.int64(2), 1])
def test_alpha_may_be_numpys(alpha):
    r = TaskArithReranker("a/b", "c/d", "e/f", alpha=alpha)
    assert type(r.alpha) is float and r.alpha == float(alpha)
    r.set_parameter("alpha", alpha)
    assert type(r.get_parameter("alpha")) is float and r.setting.alphas == (("domain", float(alpha)),)


@pytest.mark.parametrize("alpha", [math.nan, math.inf, -math.inf, True, "0.5", None, 1j, np.float32("nan"), np.bool_(1),
                                   [0.5], np.array([0.1, 0.2])], ids=str)
def test_alpha_that_is_no_finite_real_number_is_refused(alpha):
    with pytest.raises(ValueError, match="must be a finite real number"):
        TaskArithReranker("a/b", "c/d", "e/f", alpha=alpha)
    r = TaskArithReranker("a/b", "c/d", "e/f", alpha=0.3)
    with pytest.raises(ValueError, match="must be a finite real number"):
        r.alpha = alpha
    with pytest.raises(ValueError, match="must be a finite real number"):
        r.set_parameter("alpha", alpha)
    assert r.alpha == 0.3


def test_layers_restrict_the_vector(triple, tmp_path):
    r = reranker(triple, layers="1", alpha=1.0)
    scores(r)
    plain, domain, base = (load_file(triple.ranker / "model.safetensors"), bare_state(triple.domain),
                           bare_state(triple.base))
    changed = set()
    for name, parameter in r.model.scorer.module.named_parameters():
        if not torch.equal(parameter, plain[name]):
            changed.add(name)
            torch.testing.assert_close(parameter, plain[name] + domain[name] - base[name])
    assert changed == {name for name in plain if name.startswith("encoder.layer.1.")}


# several vectors ---------------------------------------------------------------------------------------------------

@pytest.fixture
def both(triple, other):
    vectors = {"bio": TaskVector(triple.domain, triple.base), "de": TaskVector(other.domain, other.base)}
    return TaskArithReranker(triple.ranker, vectors=vectors, alpha={"bio": 0.6, "de": -0.2}, verbose=False)


def test_several_vectors_are_added(both, triple, other, tmp_path):
    folder = by_hand(triple.ranker, tmp_path / "merged",
                     [(0.6, triple.domain, triple.base), (-0.2, other.domain, other.base)])
    np.testing.assert_allclose(scores(both), reference(folder, frame()), atol=1e-5)


def test_each_vector_has_a_parameter_of_its_own(both):
    assert both.get_parameter("alpha.bio") == 0.6 and both.get_parameter("alpha.de") == -0.2
    fixed = hash(both)
    both.set_parameter("alpha.de", np.float32(0.5))
    assert both.alpha == {"bio": 0.6, "de": 0.5} and hash(both) == fixed
    one_by_one = scores(both)
    both.set_parameter("alpha", 0.5)
    assert both.get_parameter("alpha.bio") == 0.5 and both.alpha == 0.5
    both.set_parameter("alpha.bio", 0.6)
    np.testing.assert_array_equal(scores(both), one_by_one)
    for name in ("alpha.fr", "alpha.", "alpha.bio.de"):
        with pytest.raises(ValueError, match="Invalid parameter name"):
            both.set_parameter(name, 1.0)
    with pytest.raises(ValueError, match="alpha of bio is nan"):
        both.set_parameter("alpha.bio", math.nan)


def test_alpha_names_every_vector(both):
    with pytest.raises(ValueError, match=r"unknown \['fr'\], absent \['de'\]"):
        both.alpha = {"bio": 0.3, "fr": 0.1}
    both.alpha = {"de": 0.1, "bio": 0.3}
    assert list(both.alpha.items()) == [("bio", 0.3), ("de", 0.1)]


def test_the_order_of_named_alphas_changes_no_weights(both):
    scores(both)
    switches = both.model.weights.switches
    both.alpha = {"de": -0.2, "bio": 0.6}
    both.transform(frame(4, 7))
    assert both.model.weights.switches == switches


def test_variants_of_several_vectors(both):
    variants = both.variants()
    assert list(variants) == ["Θ_0.bio", "Θ_0.de", "Θ_D.bio", "Θ_D.de", "Θ_T", "Θ'"]
    seen = {symbol: scores(variant) for symbol, variant in variants.items()}
    assert len({values.tobytes() for values in seen.values()}) == 6


def test_a_sum_of_vectors_has_no_domain_model(triple, other):
    vector = TaskVector(triple.domain, triple.base) + TaskVector(other.domain, other.base)
    r = TaskArithReranker(triple.ranker, vectors=vector, verbose=False)
    assert list(r.variants()) == ["Θ_T", "Θ'"]
    with pytest.raises(ValueError, match="not a plain Θ_D − Θ_0"):
        r.copy(variant="domain").transform(frame())


# variants ----------------------------------------------------------------------------------------------------------

def test_every_variant_scores_with_its_own_weights(triple, tmp_path):
    variants = reranker(triple, alpha=0.7).variants()
    folders = {"Θ_0": with_weights_of(triple.ranker, tmp_path / "base", triple.base),
               "Θ_D": with_weights_of(triple.ranker, tmp_path / "domain", triple.domain), "Θ_T": triple.ranker,
               "Θ'": by_hand(triple.ranker, tmp_path / "merged", [(0.7, triple.domain, triple.base)])}
    assert list(variants) == list(folders)
    for symbol, variant in [*variants.items(), *reversed(variants.items())]:
        np.testing.assert_allclose(scores(variant), reference(folders[symbol], frame()), atol=1e-5, err_msg=symbol)


def test_variants_share_one_model_and_differ_in_all_else(triple):
    r = reranker(triple, alpha=0.7)
    variants = r.variants()
    assert len({id(variant.model) for variant in [r, *variants.values()]}) == 1
    assert variants["Θ'"] == r and len({repr(variant) for variant in variants.values()}) == 4
    assert len({hash(variant) for variant in variants.values()}) == 4
    assert all(one != two for a, one in variants.items() for b, two in variants.items() if a != b)
    assert pt.inspect.transformer_apply_attributes(variants["Θ_D"]) == variants["Θ_D"]
    assert len({scores(variant).tobytes() for variant in variants.values()}) == 4


def test_variants_share_one_tokenisation(triple, monkeypatch):
    variants = reranker(triple, alpha=0.7, max_length=64).variants()
    scorer = variants["Θ_T"].model.scorer
    seen: list[str] = []
    tokenise = scorer._tokenise
    monkeypatch.setattr(scorer, "_tokenise", lambda kind, texts: (seen.extend(texts), tokenise(kind, texts))[1])
    for variant in variants.values():
        scores(variant)
    assert len(seen) == 3 + 6


def test_a_head_that_the_base_lacks_is_the_rankers_and_is_reported(tmp_path, caplog):
    triple = t5_triple(tmp_path, kind="mt5")
    state = load_file(triple.base / "model.safetensors")
    head = state.pop("lm_head.weight")
    save_file(state, triple.base / "model.safetensors", metadata={"format": "pt"})
    r = reranker(triple, variant="base")
    assert np.isfinite(scores(r)).all()
    used = r.model.scorer.module.lm_head.weight
    assert torch.equal(used, load_file(triple.ranker / "model.safetensors")["lm_head.weight"])
    assert not torch.equal(used, head)
    assert f"{str(triple.base)!r} has no lm_head.weight: scored with Θ_T's" in caplog.text


def test_copies_share_the_model_where_only_alpha_differs(triple):
    r = reranker(triple, alpha=0.7)
    assert r.copy(alpha=0.2).model is r.model is reranker(triple, alpha=0.9).model
    assert r.copy(max_length=16).model is not r.model
    assert reranker(triple, layers="0").model is not r.model


def test_a_copy_is_apart(triple):
    r = reranker(triple, alpha=0.7)
    other = r.copy()
    other.alpha = 0.1
    assert r.alpha == 0.7 and r.copy(alpha=0.1) == other != r


def test_the_model_goes_with_its_last_reranker(triple):
    r = reranker(triple, batch_tokens=513)
    variants = list(r.variants().values())
    living = weakref.ref(r.model)
    del r
    gc.collect()
    assert living() is not None
    variants.clear()
    gc.collect()
    assert living() is None


def test_scores_do_not_depend_on_where_the_weights_are(triple):
    for variant in ("base", "domain", "ranker", "merged"):
        assert_scores_agree(scores(reranker(triple, variant=variant, weights="disk", alpha=0.3)),
                            scores(reranker(triple, variant=variant, weights="memory", alpha=0.3)))


def test_threads_that_score_with_different_weights_do_not_mix_them(triple):
    r = reranker(triple, batch_tokens=64)
    made = [r.copy(alpha=alpha) for alpha in (0.1, 0.5, 0.9)] + list(r.variants().values())
    expected = [scores(reranker(triple, alpha=one.alpha, variant=one.variant)) for one in made]
    found: dict[tuple[int, int], np.ndarray] = {}

    def score(place: int) -> None:
        for turn in range(4):
            part = frame().iloc[turn::4]
            found[place, turn] = made[place].transform(part)["score"].to_numpy()

    threads = [threading.Thread(target=score, args=(place,)) for place in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (place, turn), values in found.items():
        assert_scores_agree(values, expected[place][turn::4])
    assert len(found) == 4 * len(made)


def test_a_device_that_is_named_is_used(triple):
    assert next(reranker(triple, device="cpu").model.scorer.module.parameters()).device.type == "cpu"


@pytest.mark.parametrize(("dtype", "within"), [
    pytest.param("bfloat16", 0.05, marks=needs_bfloat16),
    ("float16", 5e-3)])
def test_the_dtype_is_the_users(triple, dtype, within):
    r = reranker(triple, dtype=dtype, alpha=0.7)
    exact = scores(reranker(triple, alpha=0.7))
    assert 0 < np.abs(scores(r) - exact).max() < within
    assert next(r.model.scorer.module.parameters()).dtype == getattr(torch, dtype)


def test_a_model_without_vectors_has_its_own_dtype_on_a_gpu(tmp_path, monkeypatch):
    folder = bert_triple(tmp_path, dtype=torch.bfloat16).ranker

    def stop(checkpoint, name, options):
        raise RuntimeError(f"{options.dtype} on {options.device}")

    monkeypatch.setattr(_loaded, "make_scorer", stop)
    with pytest.raises(RuntimeError, match=r"torch\.bfloat16 on cuda:0"):
        TaskArithReranker(folder, vectors={}, device="cuda:0").model  # noqa: B018


# α by layers, and merge methods ------------------------------------------------------------------------------------

def test_alpha_by_layers_scores_as_layers_of_the_vector_do(triple):
    by_layers = reranker(triple, alpha={"default": 0.7, "layers 1": 0, "embeddings": 0})
    vector = TaskVector(triple.domain, triple.base).without("1,embeddings")
    by_vector = TaskArithReranker(triple.ranker, vectors=vector, alpha=0.7, verbose=False)
    np.testing.assert_array_equal(scores(by_layers), scores(by_vector))
    assert by_layers.alpha == {"default": 0.7, "layers 1": 0.0, "embeddings": 0.0}
    assert np.abs(scores(by_layers) - scores(reranker(triple, alpha=0.7))).max() > 1e-4


def test_layers_that_the_model_lacks_are_refused_before_it_is_loaded_and_the_others_named(triple, monkeypatch):
    loaded = []
    monkeypatch.setattr(_loaded, "make_scorer", lambda *arguments: loaded.append(arguments))
    r = reranker(triple, alpha={"default": 0.5, "layers 99": 1})
    with pytest.raises(ValueError, match=r"alpha=\{'layers 99': 1\} selects no parameter that is merged; these layers "
                                         r"are: embeddings, encoder.0-1$"):
        r.model  # noqa: B018
    assert not loaded


@pytest.mark.parametrize("alpha", [{"default": 0.5, "layers 0,99": 1}, {"default": 0.5, "not 99": 1},
                                   {"default": 0.5, "decoder.0": 1}])
def test_a_living_reranker_refuses_layers_it_lacks_at_once(triple, alpha):
    r = reranker(triple, alpha={"default": 0.5, "layers 0": 1})
    r.transform(frame())
    before = r.alpha
    for change in (lambda: setattr(r, "alpha", alpha), lambda: r.copy(alpha=alpha),
                   lambda: r.set_parameter("alpha", alpha)):
        with pytest.raises(ValueError, match=r"selects no parameter that is merged.*these layers are: embeddings, "
                                             r"encoder.0-1$"):
            change()
    assert r.alpha == before


def test_alpha_by_layers_for_one_of_several_vectors(triple, other):
    vectors = {"bio": TaskVector(triple.domain, triple.base), "de": TaskVector(other.domain, other.base)}
    alpha = {"bio": 0.7, "de": {"default": 0, "0": 0.3}}
    r = TaskArithReranker(triple.ranker, vectors=vectors, alpha=alpha, verbose=False)
    parts = {"bio": vectors["bio"], "de": vectors["de"].layers("0")}
    same = TaskArithReranker(triple.ranker, vectors=parts, alpha={"bio": 0.7, "de": 0.3}, verbose=False)
    np.testing.assert_array_equal(scores(r), scores(same))
    r.set_parameter("alpha.de", 0.3)
    assert r.get_parameter("alpha.de") == 0.3 and r.get_parameter("alpha") == {"bio": 0.7, "de": 0.3}


def test_grid_search_tunes_over_alphas_by_layers_as_over_numbers(triple):
    r, qrels = reranker(triple), frame()[["qid", "docno"]].assign(label=lambda rows: np.arange(len(rows)) % 3)
    settings = [0.0, {"default": 0.5, "0": 0}, {"default": 0, "0": 0.5}]
    topics = frame()[["qid", "query"]].drop_duplicates()
    pt.GridSearch(pt.Transformer.from_df(frame()) >> r, {r: {"alpha": settings}}, topics, qrels, "map", verbose=False)
    assert r.alpha in settings
    assert r.model.scorer.pairs_scored == 3 * len(frame())


def test_methods_and_alphas_tell_rerankers_apart(triple):
    vector = TaskVector(triple.domain, triple.base)
    made = [TaskArithReranker(triple.ranker, vectors=v, alpha=a, verbose=False)
            for v in (vector, vector.trim(0.3), vector.dare(0.3)) for a in (0.5, {"default": 0.5, "0": 0})]
    found = [scores(r) for r in made]
    for place, one in enumerate(made):
        for later, another in enumerate(made[place + 1:], place + 1):
            assert one != another and np.abs(found[place] - found[later]).max() > 1e-5, (one, another)


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="only Linux counts what a process reads")
def test_loading_reads_each_model_once(tmp_path):
    triple = bert_triple(tmp_path, hidden=256)
    size = (triple.ranker / "model.safetensors").stat().st_size

    def read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    scores(reranker(triple, weights="disk", batch_tokens=2000))  # imports modules
    gc.collect()
    before = read()
    scores(reranker(triple, weights="disk", batch_tokens=2001))
    assert 2.5 * size < read() - before < 3.5 * size
