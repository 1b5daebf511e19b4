"""ablate against brute force: plain loops over re-rankers, and weights merged by plain torch."""

import re
import shutil

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import torch
from ir_measures import AP, nDCG
from safetensors.torch import save_file
from scipy import stats

from pyterrier_taskarith import Ablation, Mix, TaskArithReranker, TaskVector, ablate, plot_ablation
from pyterrier_taskarith.tuning._ablate import EVERYWHERE, NOWHERE
from testing import bert_triple, t5_triple
from tests.arithmetic.reference import Case
from tests.checkpoints.by_hand import raw, same_bits
from tests.tuning.by_layer import FAMILIES, LAYERS, MAKERS, reranker_of, run_and_qrels

RUN, QRELS = run_and_qrels()


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    return request.param, MAKERS[request.param](tmp_path_factory.mktemp("triple"))


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return MAKERS["bert"](tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Twelve layers, so that 1, 10 and 11 are all there."""
    return Case(bert_triple(tmp_path_factory.mktemp("deep"), layers=12, pooler_in=()), prefix="bert.")


def each_query(reranker, measure, weight=1.0, run=RUN, qrels=QRELS):
    values = pt.Evaluate(Mix(reranker, weight=weight)(run), qrels, metrics=[measure], perquery=True)
    return {qid: found[str(measure)] for qid, found in values.items()}


def only(layers, alpha):
    return {"default": 0.0, layers: alpha}


def without(layers, alpha):
    return {"default": alpha, layers: 0.0}


@pytest.mark.parametrize(("mode", "written"), [("only", only), ("without", without)])
def test_each_group_is_brute_force_s(family, mode, written):
    name, triple = family
    reranker = reranker_of(triple, alpha=0.8)
    table = ablate(reranker, RUN, QRELS, mode=mode, measures=[nDCG @ 10, AP], weight=0.6, verbose=False)
    alphas = {NOWHERE: 0, EVERYWHERE: 0.8, **{layers: written(layers, 0.8) for layers in LAYERS[name]}}
    assert table.frame["group"].unique().tolist() == list(alphas)
    reference = NOWHERE if mode == "only" else EVERYWHERE
    for measure in (nDCG @ 10, AP):
        expected = {label: each_query(reranker.copy(alpha=alpha), measure, 0.6) for label, alpha in alphas.items()}
        rows = table.frame[table.frame["measure"] == str(measure)].set_index("group")
        for label, values in expected.items():
            differences = [values[qid] - expected[reference][qid] for qid in values]
            assert rows.loc[label, "value"] == pytest.approx(np.mean(list(values.values())), abs=1e-12)
            assert rows.loc[label, "difference"] == pytest.approx(np.mean(differences), abs=1e-12)
            if np.ptp(differences):
                interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
                assert (rows.loc[label, "low"], rows.loc[label, "high"]) == pytest.approx(tuple(interval), abs=1e-9)
            else:
                assert rows.loc[label, "low"] == rows.loc[label, "high"] == pytest.approx(differences[0], abs=1e-12)
            kept = table.queries[(table.queries["group"] == label) & (table.queries["measure"] == str(measure))]
            assert dict(zip(kept["qid"], kept["value"], strict=True)) == pytest.approx(values, abs=1e-12)
    assert table.frame["value"].nunique() > 3
    assert reranker.alpha == 0.8


@pytest.mark.parametrize("mode", ["only", "without"])
def test_weights_are_those_that_plain_torch_merges(deep, tmp_path, mode):
    number, alpha, ranker, tau = re.compile(r"^encoder\.layer\.(\d+)\."), 0.9, deep.ranker, deep.tau
    assert {match[1] for name in ranker if (match := number.match(name))} == set(map(str, range(12)))
    reranker = reranker_of(deep.triple, alpha=alpha)
    table = ablate(reranker, RUN, QRELS, mode=mode, groups=["1", "10", "11"], measures=AP, verbose=False)
    found = set()
    for layer in ("1", "10", "11"):
        def added(name, layer=layer):
            match = number.match(name)
            inside = match is not None and match[1] == layer
            return inside if mode == "only" else not inside

        merged = {name: torch.add(value, tau[name], alpha=alpha) if name in tau and added(name) else value
                  for name, value in ranker.items()}
        folder = shutil.copytree(deep.triple.ranker, tmp_path / layer)
        assert set(raw(folder)) == set(merged)
        save_file(merged, folder / "model.safetensors", metadata={"format": "pt"})
        values = each_query(TaskArithReranker(str(folder), vectors={}, verbose=False), AP)
        kept = table.queries[table.queries["group"] == layer]
        assert dict(zip(kept["qid"], kept["value"], strict=True)) == pytest.approx(values, abs=1e-12)
        found.add(tuple(values.values()))
        written = only(layer, alpha) if mode == "only" else without(layer, alpha)
        ours = reranker.copy(alpha=written)
        ours.model.weights.set(ours.setting)
        assert all(same_bits(parameter, merged[name])
                   for name, parameter in ours.model.scorer.module.named_parameters())
    assert len(found) == 3


def test_thirds_and_named_groups(deep, triple):
    reranker = reranker_of(deep.triple)
    thirds = ablate(reranker, RUN, QRELS, groups="thirds", verbose=False)
    assert thirds.frame["layers"].tolist() == ["", "", "embeddings", "0-3", "4-7", "8-11"]
    named = ablate(reranker, RUN, QRELS, groups={"low": "embeddings,0-3", "rest": "4-7, 8-11"}, verbose=False)
    assert named.frame["group"].tolist() == [NOWHERE, EVERYWHERE, "low", "rest"]
    expected = each_query(reranker.copy(alpha={"default": 0, "embeddings,0-3": 1}), nDCG @ 10)
    assert named.frame["value"][2] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    four = ablate(reranker_of(triple), RUN, QRELS, groups="thirds", verbose=False)
    assert four.frame["layers"].tolist() == ["", "", "embeddings", "0-1", "2", "3"]
    assert not named.rest and len(ablate(reranker, RUN, QRELS, groups=["11"], verbose=False).rest) > 100


def test_thirds_of_an_encoder_decoder_are_of_each_side(tmp_path):
    table = ablate(reranker_of(t5_triple(tmp_path, layers=3)), RUN.head(24), QRELS, groups="thirds", verbose=False)
    sides = [f"{side}.{number}" for side in ("encoder", "decoder") for number in range(3)]
    assert table.frame["group"].tolist() == [NOWHERE, EVERYWHERE, "embeddings", *sides]
    assert set(table.rest) == {"encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight"}
    assert "2 merged parameters are in no group and have α = 0 throughout" in str(table)


def test_several_vectors_keep_their_own_alpha_where_they_are_added(triple):
    whole = TaskVector(triple.domain, triple.base)
    reranker = TaskArithReranker(triple.ranker, vectors={"bio": whole, "top": whole.without("embeddings,0")},
                                 alpha={"bio": 0.3, "top": -0.6}, verbose=False)
    table = ablate(reranker, RUN, QRELS, groups=["embeddings", "0", "2-3"], verbose=False)
    alphas = {"embeddings": {"bio": only("embeddings", 0.3), "top": 0}, "0": {"bio": only("0", 0.3), "top": 0},
              "2-3": {"bio": only("2-3", 0.3), "top": only("2-3", -0.6)},
              NOWHERE: {"bio": 0, "top": 0}, EVERYWHERE: {"bio": 0.3, "top": -0.6}}
    rows = table.frame.set_index("group")["value"]
    for label, alpha in alphas.items():
        expected = each_query(reranker.copy(alpha=alpha), nDCG @ 10)
        assert rows[label] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    assert rows["2-3"] != rows[NOWHERE]


def test_several_development_sets_count_alike(triple):
    reranker, other = reranker_of(triple), run_and_qrels(4)
    table = ablate(reranker, {"one": RUN, "two": other[0]}, {"one": QRELS, "two": other[1]}, mode="without",
                   groups=["0-1", "2-3"], verbose=False)
    assert list(table.frame.columns)[:2] == ["collection", "group"] == list(table.queries.columns)[:2]
    alone = {name: ablate(reranker, *parts, mode="without", groups=["0-1", "2-3"], verbose=False).frame
             for name, parts in {"one": (RUN, QRELS), "two": other}.items()}
    for name, frame in alone.items():
        part = table.frame[table.frame["collection"] == name].drop(columns="collection").reset_index(drop=True)
        pd.testing.assert_frame_equal(part, frame)
    average = table.frame[table.frame["collection"] == "average"].reset_index(drop=True)
    for column in ("value", "difference"):
        assert average[column].tolist() == pytest.approx(((alone["one"][column] + alone["two"][column]) / 2).tolist())
    assert average["low"].isna().all() and "6/4 queries" in str(table)
    assert len(plot_ablation(table).axes) == 3


def test_topics_without_results_count_as_zero(triple):
    reranker = reranker_of(triple)
    topics = pd.DataFrame({"qid": [*RUN["qid"].unique(), "lost"], "query": "x"})
    judged = pd.concat([QRELS, pd.DataFrame({"qid": ["lost"], "docno": ["d1"], "label": [1]})])
    with_lost = ablate(reranker, RUN, judged, groups=["0"], topics=topics, verbose=False).frame["value"]
    assert with_lost.tolist() == pytest.approx((ablate(reranker, RUN, QRELS, groups=["0"],
                                                       verbose=False).frame["value"] * 6 / 7).tolist())


@pytest.mark.parametrize(("mode", "reference"), [("only", NOWHERE), ("without", EVERYWHERE)])
def test_it_shows_as_text_html_markdown_latex_and_a_picture(triple, tmp_path, mode, reference):
    table = ablate(reranker_of(triple, alpha=0.7), RUN, QRELS, mode=mode, measures=[AP, "ndcg_cut_10"], weight=0.4,
                   verbose=False)
    assert isinstance(table, Ablation) and repr(table) == str(table)
    text = str(table)
    for words in (f"differences to {reference}", "α = 0.7", "mixed with the first stage, weight 0.4", "6 queries",
                  "ndcg_cut_10", "each by itself"):
        assert words in text
    row, = [line for line in text.splitlines() if line.startswith("embeddings ")]
    found = table.frame[table.frame["group"] == "embeddings"].set_index("measure")
    assert f"{found.loc['AP', 'value']:.3f}".removeprefix("0") in row
    line, = [line for line in text.splitlines() if line.startswith(reference)]
    assert "[" not in line and text.count("[") == 2 * 5 + 2
    assert table._repr_html_().count("<tr>") == 1 + 7
    assert table.to_markdown().count("\n| ") >= 7 and r"\toprule" in table.to_latex()
    figure = table.plot(tmp_path / "ablation.png", measure="ndcg_cut_10")
    axes, = figure.axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx(table.frame[table.frame["measure"] == "ndcg_cut_10"]["difference"][2:].tolist())
    assert [label.get_text() for label in axes.get_xticklabels()] == LAYERS["bert"]
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"no 'P@1'; it has \['AP', 'ndcg_cut_10'\]"):
        plot_ablation(table, measure="P@1")
    with pytest.raises(TypeError, match="what ablate returned, not a DataFrame"):
        plot_ablation(table.frame)


def ablated(triple, file, **options):
    return ablate(reranker_of(triple), RUN, QRELS, resume=file, verbose=False, **options)


def test_an_interrupted_ablation_resumes_and_gives_the_identical_table(triple, tmp_path, scored, interrupted):
    whole, file = ablated(triple, None), tmp_path / "ablation.scores"
    interrupted(4, lambda: ablated(triple, file))
    del scored[:]
    resumed = ablated(triple, file)
    assert len(scored) == 7 - 3
    pd.testing.assert_frame_equal(resumed.frame, whole.frame, check_exact=True)
    pd.testing.assert_frame_equal(resumed.queries, whole.queries, check_exact=True)
    assert str(resumed) == str(whole)
    del scored[:]
    ablated(triple, file, mode="without")  # shares the two references
    assert len(scored) == 5


def counted(monkeypatch):
    """Returns the α of every scoring from now on."""
    asked, original = [], TaskArithReranker.transform
    monkeypatch.setattr(TaskArithReranker, "transform",
                        lambda self, frame: asked.append(self.alpha) or original(self, frame))
    return asked


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"mode": "both"}, ValueError, "mode='both': choose 'only'.*'without'"),
    ({"groups": "quarters"}, ValueError, "groups='quarters': choose one of 'layers', 'thirds', or give a list"),
    ({"groups": []}, ValueError, "at least one group"),
    ({"groups": ["0", "0"]}, ValueError, "each once"),
    ({"groups": ["0-1", "1-2"]}, ValueError, r"parameter '.*layer\.1\..*' is in the groups \['0-1', '1-2'\]"),
    ({"groups": ["0-1", "7"]}, ValueError, r"no parameter is merged in the groups \['7'\].*give groups=\['0-1'\]"),
    ({"groups": {"low": "decoder.1"}}, ValueError, r"no parameter is merged in the groups \['low'\]"),
    ({"groups": ["layer one"]}, ValueError, "'one' is not a layer"),
    ({"groups": {NOWHERE: "0"}}, ValueError, "is the name of a system"),
    ({"weight": 2}, ValueError, "from 0 to 1"),
    ({"measures": "nDCQ"}, ValueError, "nDCQ"),
    ({"run": RUN.drop(columns="text")}, ValueError, "lacks the columns.*text"),
])
def test_bad_input_is_refused_before_anything_is_scored(triple, monkeypatch, options, error, message):
    asked = counted(monkeypatch)
    with pytest.raises(error, match=message):
        ablate(reranker_of(triple), **{"run": RUN, "qrels": QRELS, "verbose": False, **options})
    assert not asked


@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda r: Mix(r), TypeError, "ablate takes a TaskArithReranker first, not a Mix; give the re-ranker inside"),
    (lambda r: r.copy(alpha=0), ValueError, "alpha=0.0: nothing is added to any layer"),
    (lambda r: r.copy(alpha={"default": 0.5, "1": 1}), ValueError, "by layers already.*one α for all layers"),
    (lambda r: r.copy(variant="domain"), ValueError, "variant='domain' has no task vector to ablate"),
    (lambda r: r.copy(layers="0-1,embeddings"), ValueError,
     r"in the groups \['2', '3'\].*leaves them out; give groups=\['embeddings', '0', '1'\]"),
])
def test_re_rankers_that_cannot_be_ablated_are_refused(triple, change, error, message):
    with pytest.raises(error, match=message):
        ablate(change(reranker_of(triple)), RUN, QRELS, verbose=False)


def test_a_restricted_vector_is_ablated_in_the_groups_it_has(triple):
    reranker = reranker_of(triple, layers="0-1,embeddings")
    table = ablate(reranker, RUN, QRELS, groups=["embeddings", "0", "1"], verbose=False)
    whole = ablate(reranker_of(triple), RUN, QRELS, groups=["embeddings", "0", "1"], verbose=False)
    assert table.frame["value"].drop(1).tolist() == whole.frame["value"].drop(1).tolist()
