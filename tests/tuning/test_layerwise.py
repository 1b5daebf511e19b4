"""tune_layers against coordinate steps by hand: plain loops over re-rankers, every setting evaluated by PyTerrier."""

from functools import cache

import pandas as pd
import pytest
from ir_measures import AP

from pyterrier_taskarith import Mix, TaskArithReranker, TaskVector, line_up, tune_layers
from testing import bert_triple
from tests.reranking import assert_scores_agree
from tests.tuning.by_layer import FAMILIES, LAYERS, MAKERS, reranker_of, run_and_qrels
from tests.tuning.small import brute
from tests.tuning.test_ablate import counted

RUN, QRELS = run_and_qrels()
ALPHAS = [0.0, 0.6, 1.2]
#: Family -> the order of its groups, from the top of the model down.
FROM_THE_TOP = {
    **dict.fromkeys(("bert", "distilbert", "cross-encoder"), ["3", "2", "1", "0", "embeddings"]),
    "t5": ["decoder.1", "decoder.0", "encoder.1", "encoder.0", "embeddings"],
    "llama": ["1", "0", "embeddings"],
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    return request.param, MAKERS[request.param](tmp_path_factory.mktemp("triple"))


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return MAKERS["bert"](tmp_path_factory.mktemp("bert"))


def by_hand(value, order, alphas, rounds, start=None):
    """Coordinate steps over α written by layers; returns the setting, what was seen and the single best.

    Args:
        value: {"default": …, group: …} -> mean.
        order: Groups as they are tried.
        alphas: Values.
        rounds: At most.
        start: A setting, or None for the best single α.
    """
    seen = []

    def look(setting):
        if setting not in seen:
            seen.append(setting)
        return value(tuple(setting.items()))

    def best(settings):
        highest = max(map(look, settings))
        return min((each for each in settings if look(each) > highest - 1e-12),
                   key=lambda each: sum(map(abs, each.values())))

    if start is None:
        start = best([{"default": alpha, **dict.fromkeys(order, alpha)} for alpha in alphas])
    look(start)
    present = start
    for _ in range(rounds):
        before = present
        for group in order:
            other = best([{**present, group: alpha} for alpha in alphas if alpha != present[group]])
            if look(other) > look(present) + 1e-12:
                present = other
        if present == before:
            break
    return present, seen, start


def evaluated(reranker, weight=1.0, measure=AP, run=RUN, qrels=QRELS):
    return cache(lambda items: brute(reranker, run, qrels, measure, dict(items), weight))


def check(tuned, value, order, alphas, rounds=3, start=None):
    """Compares everything that was tried, in order, and what was chosen."""
    chosen, seen, began = by_hand(value, order, alphas, rounds, start)
    rows = tuned.evidence
    labels = list(seen[0])
    ours = [dict(zip(labels, row, strict=True)) for row in rows[[f"alpha.{label}" for label in labels]].to_numpy()]
    assert ours == seen and tuned.scorings == len(seen) == len(rows)
    assert rows["value"].tolist() == pytest.approx([value(tuple(setting.items())) for setting in seen], abs=1e-12)
    assert tuned.value == pytest.approx(value(tuple(chosen.items())), abs=1e-12)
    assert tuned.start_value == pytest.approx(value(tuple(began.items())), abs=1e-12)
    assert tuned.alpha == (chosen if len(set(chosen.values())) > 1 else chosen["default"])
    return chosen


def test_the_steps_are_brute_force_s(family):
    name, triple = family
    reranker = reranker_of(triple, alpha=0.9)
    tuned = tune_layers(reranker, RUN, QRELS, groups="layers", alphas=ALPHAS, measure=AP, rounds=2, verbose=False)
    chosen = check(tuned, evaluated(reranker), FROM_THE_TOP[name], ALPHAS, rounds=2)
    assert tuned.value > tuned.start_value and len(set(chosen.values())) > 1
    assert list(tuned.evidence.columns) == ["round", "group", "alpha.default", *(f"alpha.{text}" for text in LAYERS[
        name]), "weight", "measure", "value"]
    assert tuned.evidence["round"].tolist()[:len(ALPHAS)] == [0] * len(ALPHAS)
    assert tuned.reranker == reranker.copy(alpha=tuned.alpha) and reranker.alpha == 0.9
    assert tuned.reranker.model is reranker.model and tuned.mix == Mix(tuned.reranker, weight=1.0)
    for words in (f"{len(tuned.evidence)} settings", "one development set", "held-out", str(tuned.alpha)):
        assert words in str(tuned)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_thirds_mixed_with_the_first_stage_from_a_given_start(triple, weight):
    reranker = reranker_of(triple)
    order = ["3", "2", "0-1", "embeddings"]
    for start, expected in [(0.5, dict.fromkeys(["default", *order], 0.5)),
                            ({"default": 0.5, "2-3": 1.2, "embeddings": 0.1},
                             {"default": 0.5, "3": 1.2, "2": 1.2, "0-1": 0.5, "embeddings": 0.1})]:
        tuned = tune_layers(reranker, RUN, QRELS, alphas=ALPHAS, weight=weight, measure=AP, start=start, verbose=False)
        if isinstance(start, dict):
            expected["default"] = 0.5
        check(tuned, evaluated(reranker, weight), order, ALPHAS, start=expected)
        assert tuned.weight == weight


def test_no_setting_is_scored_twice(triple, monkeypatch):
    reranker, asked = reranker_of(triple), counted(monkeypatch)
    tuned = tune_layers(reranker, RUN, QRELS, groups="layers", alphas=ALPHAS, measure=AP, verbose=False)
    assert len(asked) == tuned.scorings == len({str(alpha) for alpha in asked})
    assert tuned.evidence["round"].max() > 1


def test_a_group_without_effect_keeps_its_value(triple):
    # Everything is relevant, so that every setting has the same mean.
    everything = RUN[["qid", "docno"]].assign(label=1)
    reranker = reranker_of(triple)
    tuned = tune_layers(reranker, RUN, everything, alphas=[1.0, -0.5, 0.5], measure=AP, verbose=False)
    assert tuned.alpha == -0.5 and tuned.evidence["round"].max() == 1  # the first of the smallest |α|
    tuned = tune_layers(reranker, RUN, everything, alphas=[0.0, 1.0], start=0.7, measure=AP, verbose=False)
    assert tuned.alpha == 0.7 and tuned.scorings == 1 + 4 * 2


def test_what_is_in_no_group_keeps_the_alpha_it_starts_with(triple):
    reranker = reranker_of(triple)
    tuned = tune_layers(reranker, RUN, QRELS, groups=["3", "1"], alphas=ALPHAS, measure=AP, verbose=False)
    check(tuned, evaluated(reranker), ["3", "1"], ALPHAS)
    assert tuned.evidence.iloc[len(ALPHAS):]["alpha.default"].nunique() == 1


def test_one_value_leaves_nothing_to_try(triple):
    tuned = tune_layers(reranker_of(triple), RUN, QRELS, alphas=[0.5], verbose=False)
    assert tuned.alpha == tuned.start == 0.5 and tuned.scorings == 1


def test_several_vectors_share_a_group_s_alpha(triple):
    whole = TaskVector(triple.domain, triple.base)
    reranker = TaskArithReranker(triple.ranker, vectors={"bio": whole, "top": -0.5 * whole.without("embeddings,0")},
                                 verbose=False)
    tuned = tune_layers(reranker, RUN, QRELS, groups=["embeddings", "0-1", "2-3"], alphas=ALPHAS, measure=AP,
                        verbose=False)

    @cache
    def value(items):
        bio, top = dict(items), dict(items)
        del top["embeddings"]
        return brute(reranker, RUN, QRELS, AP, {"bio": bio, "top": top}, 1.0)

    rows = tuned.evidence
    for row in rows.to_dict("records"):
        items = tuple((label, row[f"alpha.{label}"]) for label in ("default", "embeddings", "0-1", "2-3"))
        assert row["value"] == pytest.approx(value(items), abs=1e-12)
    assert tuned.value == rows["value"].max() and set(tuned.alpha) == {"bio", "top"}
    assert "embeddings" not in tuned.alpha["top"]
    assert brute(reranker, RUN, QRELS, AP, tuned.alpha, 1.0) == pytest.approx(tuned.value)


def test_several_development_sets_by_their_average(triple):
    reranker, (run, qrels) = reranker_of(triple), run_and_qrels(4)
    tuned = tune_layers(reranker, {"one": RUN, "two": run}, {"one": QRELS, "two": qrels}, alphas=ALPHAS, measure=AP,
                        verbose=False)
    one, two = evaluated(reranker), evaluated(reranker, run=run, qrels=qrels)
    chosen, seen, _ = by_hand(lambda items: (one(items) + two(items)) / 2, ["3", "2", "0-1", "embeddings"], ALPHAS, 3)
    rows = tuned.evidence[tuned.evidence["collection"] == "average"]
    assert len(rows) == len(seen) == tuned.scorings == len(tuned.evidence) / 3
    assert tuned.value == pytest.approx((one(tuple(chosen.items())) + two(tuple(chosen.items()))) / 2)
    assert tuned.reranker.alpha == tuned.alpha == chosen
    assert "on average over 2 development sets" in str(tuned)


def test_the_line_up_takes_it(triple):
    reranker = reranker_of(triple)
    tuned = tune_layers(reranker, RUN, QRELS, alphas=ALPHAS, weight=0.3, measure=AP, verbose=False)
    systems = line_up(tuned, RUN)
    assert list(systems) == ["BM25", "Θ_0", "Θ_D", "Θ_T", "Θ' (α = 1)", "Θ' (α tuned)"]
    expected = Mix(reranker.copy(alpha=tuned.alpha), weight=0.3)(RUN)["score"]
    assert_scores_agree(systems["Θ' (α tuned)"]["score"], expected)


def tuned_by_layers(triple, file, **options):
    options = {"alphas": ALPHAS, "measure": AP, "verbose": False, **options}
    return tune_layers(reranker_of(triple), RUN, QRELS, resume=file, **options)


@pytest.mark.parametrize("after", [2, 6])
def test_interrupted_and_started_again_it_ends_in_the_identical_evidence(triple, tmp_path, scored, interrupted, after):
    whole, file = tuned_by_layers(triple, None), tmp_path / "layers.scores"
    interrupted(after + 1, lambda: tuned_by_layers(triple, file))
    del scored[:]
    resumed = tuned_by_layers(triple, file)
    assert len(scored) == whole.scorings - after
    pd.testing.assert_frame_equal(resumed.evidence, whole.evidence, check_exact=True)
    assert (resumed.alpha, resumed.value, str(resumed)) == (whole.alpha, whole.value, str(whole))
    del scored[:]
    again = tuned_by_layers(triple, file)
    assert not scored and str(again) == str(whole)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"groups": "fifths"}, ValueError, "groups='fifths'"), ({"groups": ["4"]}, ValueError, r"no parameter.*\['4'\]"),
    ({"alphas": []}, ValueError, "alphas is empty"), ({"alphas": [0.5, 0.5]}, ValueError, "distinct"),
    ({"alphas": 0.5}, TypeError, "list of numbers"), ({"weight": -1}, ValueError, "from 0 to 1"),
    ({"rounds": 0}, ValueError, "rounds=0"), ({"rounds": 1.5}, ValueError, "rounds=1.5"),
    ({"start": "own"}, ValueError, "start is 'own'"),
    ({"start": {"0": 1}}, ValueError, "'default'"), ({"start": {"default": 0, "9": 1}}, ValueError, "no parameter"),
    ({"start": {"default": 0, "0": 1}}, ValueError, r"several values in group '0-1': \[0.0, 1.0\]"),
    ({"start": {"default": 0, "1": 1}, "groups": ["2"]}, ValueError, "several values in the parameters in no group"),
    ({"measure": "P"}, ValueError, r"measure='P' stands for \['P@5'"),
])
def test_bad_input_is_refused_before_anything_is_scored(triple, monkeypatch, options, error, message):
    asked = counted(monkeypatch)
    with pytest.raises(error, match=message):
        tune_layers(reranker_of(triple), RUN, QRELS, **{"verbose": False, **options})
    assert not asked


@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda r: Mix(r), TypeError, "tune_layers takes a TaskArithReranker first, not a Mix"),
    (lambda r: r.copy(variant="base"), ValueError, "α does nothing to variant='base'"),
    (lambda r: r.copy(layers="2-3"), ValueError, r"in the groups \['embeddings', '0-1'\]"),
])
def test_re_rankers_that_cannot_be_tuned_by_layers_are_refused(triple, change, error, message):
    with pytest.raises(error, match=message):
        tune_layers(change(reranker_of(triple)), RUN, QRELS, verbose=False)


def test_layer_1_is_never_layer_10_or_11(tmp_path):
    reranker = reranker_of(bert_triple(tmp_path, layers=12))
    tuned = tune_layers(reranker, RUN, QRELS, groups=["1", "10-11"], alphas=ALPHAS, rounds=1, measure=AP,
                        verbose=False)
    check(tuned, evaluated(reranker), ["10-11", "1"], ALPHAS, rounds=1)
