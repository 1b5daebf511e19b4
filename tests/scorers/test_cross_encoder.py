"""Cross-encoder scores equal sentence-transformers' predict; pairs joined from parts are the tokenizer's own."""

import json
import logging
import shutil
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyterrier_taskarith import TaskArithReranker, TaskVector
from pyterrier_taskarith.arithmetic import LoadedWeights, WeightSetting, make_plan
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers import ScorerError, ScorerOptions
from pyterrier_taskarith.scorers._cross_encoder import (
    CrossEncoder,
    longest_first,
    pair_template,
    read_first_token_only,
)
from testing import SAVED_BY, cross_encoder_triple, passages, questions
from tests.reranking import assert_scores_agree, frame, needs_bfloat16
from tests.scorers.reference import CPU, ODD_TEXTS, SPECIAL_TEXTS, edit_json, pairs, plain_texts

FAMILIES = ["bert", "distilbert", "roberta", "electra"]
OLD, BETWEEN, NEW = SAVED_BY
IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


def scorer_of(folder, **options):
    return CrossEncoder(Checkpoint(folder), ScorerOptions(**{"dtype": torch.float32, "device": CPU, **options}))


def predicted(folder, queries, texts, **options):
    """Returns what sentence-transformers predicts at its defaults and in float32; of two labels, the second."""
    from sentence_transformers import CrossEncoder as Reference

    model = Reference(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, **options)
    given = model.predict(list(zip(queries, texts, strict=True)), show_progress_bar=False)
    return given if given.ndim == 1 else given[:, 1]


def many_pairs():
    """Returns plain, odd and empty texts, and pairs of which the query, the text or both exceed 512 tokens."""
    queries, texts = pairs(plain_texts() + ODD_TEXTS[5:10] + SPECIAL_TEXTS[:2] + [""])
    long = [" ".join(passages(40, seed=seed)) for seed in (7, 8)]
    return [*queries, "what is the cell", long[0], long[0]], [*texts, long[1], "cell growth", long[1]]


def some_pairs():
    """Returns pairs of which the query, the text or both are too long for a dozen tokens."""
    return [*questions(4), "", passages(1, seed=3)[0]], [*passages(4, seed=2), "", passages(1, seed=4)[0]]


@pytest.fixture(scope="module", params=FAMILIES)
def any_folder(request, tmp_path_factory):
    return cross_encoder_triple(tmp_path_factory.mktemp(request.param), family=request.param,
                                activation=IDENTITY).ranker


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cross_encoder_triple(tmp_path_factory.mktemp("bert"), activation=IDENTITY).ranker


# what predict gives ------------------------------------------------------------------------------------------------

def test_scores_equal_sentence_transformers(any_folder):
    queries, texts = many_pairs()
    expected = predicted(any_folder, queries, texts)
    assert expected.std() > 0.05
    np.testing.assert_allclose(scorer_of(any_folder).score(queries, texts, "w"), expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_score_of_two_labels_is_the_second_logit(tmp_path, family):
    folder = cross_encoder_triple(tmp_path, family=family, labels=2).ranker
    queries, texts = pairs(plain_texts())
    scores = scorer_of(folder).score(queries, texts, "w")
    expected = predicted(folder, queries, texts)
    assert expected.std() > 0.05 and expected.min() < 0
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Implicit dimension choice for softmax")  # torch.nn.Softmax() as it is published
@pytest.mark.parametrize("saved_by", SAVED_BY)
@pytest.mark.parametrize(("labels", "activation", "low", "high"), [
    (1, None, 0, 1), (1, SIGMOID, 0, 1), (1, IDENTITY, -9, 0), (1, "torch.nn.Tanh", -1, 0),
    (2, SIGMOID, 0, 1), (2, "torch.nn.modules.activation.Softmax", 0, 1)])
def test_the_activation_is_the_one_that_the_folder_states(tmp_path, saved_by, labels, activation, low, high):
    folder = cross_encoder_triple(tmp_path, labels=labels, activation=activation, saved_by=saved_by, layers=1).ranker
    # Well below zero, where each activation gives something else.
    state = load_file(folder / "model.safetensors")
    state["classifier.bias"] -= 2
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    queries, texts = questions(6), passages(6)
    scores = scorer_of(folder).score(queries, texts, "w")
    assert low < scores.min() and scores.max() < high
    np.testing.assert_allclose(scores, predicted(folder, queries, texts), atol=1e-5)


def test_the_newest_statement_of_an_activation_wins(tmp_path):
    folder = cross_encoder_triple(tmp_path, saved_by=NEW, activation="torch.nn.Tanh").ranker
    queries, texts = questions(4), passages(4)
    found = []
    for changed in ({}, {"activation_fn": None}):
        edit_json(folder / "config_sentence_transformers.json", **changed)
        for stated in ({"sentence_transformers": {"activation_fn": IDENTITY}}, {"sentence_transformers": None}):
            edit_json(folder / "config.json", sbert_ce_default_activation_function=SIGMOID, **stated)
            scorer = scorer_of(folder)
            found.append(scorer.recipe.activation)
            np.testing.assert_allclose(scorer.score(queries, texts, "w"), predicted(folder, queries, texts), atol=1e-5)
    assert found == ["Tanh", "Tanh", "Identity", "Sigmoid"]


@pytest.mark.parametrize("saved_by", SAVED_BY)
def test_an_activation_from_elsewhere_is_never_run(tmp_path, caplog, saved_by):
    folder = cross_encoder_triple(tmp_path, saved_by=saved_by, activation="antigravity.Fly").ranker
    with caplog.at_level(logging.WARNING, logger="pyterrier_taskarith"):
        scorer = scorer_of(folder)
    assert "'antigravity.Fly' is not a part of torch" in caplog.text
    queries, texts = questions(4), passages(4)
    np.testing.assert_allclose(scorer.score(queries, texts, "w"), predicted(folder, queries, texts), atol=1e-5)


def test_the_default_prompt_stands_before_the_query(tmp_path):
    options = {"saved_by": NEW, "activation": IDENTITY, "prompts": {"find": "find what answers: ", "other": "x"}}
    plain = cross_encoder_triple(tmp_path / "plain", **options).ranker
    asking = cross_encoder_triple(tmp_path / "asking", **options, default_prompt="find").ranker
    queries, texts = [*questions(6), "", " ".join(passages(200, seed=7))], [*passages(6), "", "cell growth"]
    scores = scorer_of(asking).score(queries, texts, "w")
    np.testing.assert_allclose(scores, predicted(asking, queries, texts), atol=1e-5)
    np.testing.assert_allclose(scores, scorer_of(plain).score(
        [f"find what answers: {query}" for query in queries], texts, "w"), atol=1e-6)
    assert np.abs(scores - scorer_of(plain).score(queries, texts, "w")).max() > 0.01


def test_a_folder_that_sentence_transformers_saved_scores_the_same(folder, tmp_path):
    from sentence_transformers import CrossEncoder as Reference

    model = Reference(str(folder), device="cpu", max_length=40, prompts={"ask": "ask: "}, default_prompt_name="ask")
    model.save_pretrained(str(tmp_path / "saved"))
    queries, texts = pairs(plain_texts())
    scorer = scorer_of(tmp_path / "saved")
    assert (scorer.max_length, scorer.recipe.prompt, scorer.recipe.activation) == (40, "ask: ", "Identity")
    expected = model.predict(list(zip(queries, texts, strict=True)), show_progress_bar=False)
    np.testing.assert_allclose(scorer.score(queries, texts, "w"), expected, atol=1e-5)


# lengths -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("options", "tokenizer", "expected"), [
    ({}, {"model_max_length": 24}, 24),
    ({"saved_by": NEW, "max_seq_length": 31}, {}, 31),
    ({"saved_by": NEW}, {"model_max_length": 24}, 24),
    ({}, {"model_max_length": None}, 512),
])
def test_the_length_is_the_one_that_the_folder_states(tmp_path, options, tokenizer, expected):
    folder = cross_encoder_triple(tmp_path, activation=IDENTITY, **options).ranker
    edit_json(folder / "tokenizer_config.json", **tokenizer)
    scorer = scorer_of(folder)
    assert scorer.max_length == expected
    queries, texts = many_pairs() if expected == 512 else some_pairs()
    assert max(scorer.pairs(queries, texts)[0]) == expected
    np.testing.assert_allclose(scorer.score(queries, texts, "w"), predicted(folder, queries, texts), atol=1e-5)


@pytest.mark.parametrize("max_length", [5, 24])
def test_a_length_that_is_asked_for_is_kept(any_folder, max_length):
    queries, texts = some_pairs()
    scorer = scorer_of(any_folder, max_length=max_length)
    assert max(scorer.pairs(queries, texts)[0]) == max_length
    np.testing.assert_allclose(scorer.score(queries, texts, "w"),
                               predicted(any_folder, queries, texts, max_length=max_length), atol=1e-5)


def test_roberta_reads_no_more_tokens_than_it_has_positions(tmp_path):
    folder = cross_encoder_triple(tmp_path, family="roberta").ranker
    # sentence-transformers takes 514 tokens then, and fails at the last position.
    edit_json(folder / "tokenizer_config.json", model_max_length=None)
    scorer = scorer_of(folder)
    queries, texts = many_pairs()
    assert max(scorer.pairs(queries, texts)[0]) == scorer.max_length == 512
    assert np.isfinite(scorer.score(queries[-3:], texts[-3:], "w")).all()


@pytest.mark.parametrize("max_length", [0, 3, 513])
def test_a_length_that_does_not_fit_is_refused(folder, max_length):
    with pytest.raises(ScorerError, match=f"max_length={max_length}: .* has 512 positions, and 3 of them"):
        scorer_of(folder, max_length=max_length)


# pairs -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [12, 13])
def test_pairs_of_every_length_are_the_tokenizers_own(any_folder, max_length, side):
    scorer = scorer_of(any_folder, max_length=max_length)
    scorer.tokenizer.truncation_side = side
    scorer.template = pair_template(scorer.tokenizer)
    words = "the cell of a gene in the blood and one more protein that blocks the vaccine but not virus".split()
    lengths = [(first, second) for first in range(17) for second in range(17)]
    queries, texts = ([" ".join(words[:count]) for count in counts] for counts in zip(*lengths, strict=True))
    whole = scorer.tokenizer(queries, texts, truncation="longest_first", max_length=max_length)
    counts, pair = scorer.pairs(queries, texts)
    assert [row.tolist() for row, _ in map(pair, range(len(texts)))] == whole["input_ids"]
    assert counts == [len(row) for row in whole["input_ids"]]
    if "token_type_ids" in whole:
        assert [types.tolist() for _, types in map(pair, range(len(texts)))] == whole["token_type_ids"]


def test_parts_tokenised_apart_are_the_pair_tokenised_whole(any_folder):
    generator = np.random.default_rng(0)
    pieces = [*SPECIAL_TEXTS, *ODD_TEXTS[:-1], "x" * 40, "\u0301", "\u3099", "\ufeff", "\u2028", "a", " ", "=", "1",
              "cell growth"]
    queries, texts = (["".join(generator.choice(pieces, generator.integers(0, 5))) for _ in range(1000)]
                      for _ in range(2))
    scorer = scorer_of(any_folder, max_length=60)
    whole = scorer.tokenizer(queries, texts, truncation="longest_first", max_length=60)["input_ids"]
    _, pair = scorer.pairs(queries, texts)
    assert [row.tolist() for row, _ in map(pair, range(1000))] == whole


@pytest.mark.parametrize(("first", "second", "room", "kept"), [
    (3, 4, 7, (3, 4)), (3, 9, 7, (3, 4)), (9, 3, 7, (4, 3)), (5, 9, 7, (3, 4)), (9, 5, 7, (4, 3)), (9, 9, 7, (3, 4)),
    (9, 9, 8, (4, 4)), (0, 9, 7, (0, 7)), (9, 0, 7, (7, 0)), (4, 4, 7, (3, 4)), (1, 1, 1, (0, 1))])
def test_the_longer_text_is_cut_first(first, second, room, kept):
    assert longest_first(first, second, room) == kept


def test_a_tokenizer_that_shows_no_template_joins_the_pairs_itself(any_folder):
    queries, texts = some_pairs()
    ours, theirs = scorer_of(any_folder, max_length=40), scorer_of(any_folder, max_length=40)
    theirs.template = None
    assert ours.pairs(queries, texts)[0] == theirs.pairs(queries, texts)[0]
    assert len(theirs.score([], [], "w")) == 0
    assert_scores_agree(theirs.score(queries, texts, "w"), ours.score(queries, texts, "w"))


def test_a_query_or_text_is_tokenised_once_whatever_the_weights(folder, monkeypatch):
    scorer = scorer_of(folder)
    seen: list[tuple[str, str]] = []
    tokenise = scorer._tokenise
    monkeypatch.setattr(scorer, "_tokenise", lambda kind, texts: (seen.extend((kind, text) for text in texts),
                                                                  tokenise(kind, texts))[1])
    for weights in ("Θ_T", "Θ_D", "Θ_0"):
        scorer.score(["cell", "cell"], ["growth", "cell"], weights)
    assert sorted(seen) == [("query", "cell"), ("text", "cell"), ("text", "growth")]


# the last layer ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("model_type", ["bert", "distilbert", "roberta", "electra", "xlm-roberta", "camembert"])
def test_the_last_layer_read_at_the_first_token_alone_gives_the_same_logits(model_type):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40, "dim": 24,
             "n_heads": 3, "n_layers": 3, "hidden_dim": 40, "embedding_size": 24, "vocab_size": 60, "num_labels": 1}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(model_type, **sizes)).eval()
    ids, mask = torch.randint(5, 60, (4, 9)), torch.ones(4, 9, dtype=torch.long)
    ids[1, 4:], mask[1, 4:] = model.config.pad_token_id, 0
    widths = []
    last = [part for name, part in model.named_modules() if name.endswith(("output.dense", "ffn.lin2"))][-1]
    last.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[1]))
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).logits
        names = [name for name, _ in model.named_parameters()]
        assert read_first_token_only(model)
        logits = model(input_ids=ids, attention_mask=mask).logits
    assert widths == [9, 1] and [name for name, _ in model.named_parameters()] == names
    assert expected.std() > 1e-4
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-5)


def test_a_model_type_that_is_not_known_is_computed_whole():
    from transformers import AutoModelForSequenceClassification, MPNetConfig

    model = AutoModelForSequenceClassification.from_config(
        MPNetConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=40, vocab_size=60))
    assert not read_first_token_only(model)
    assert not any(part._forward_pre_hooks for part in model.modules())


# batches -----------------------------------------------------------------------------------------------------------

def test_scores_do_not_depend_on_batch_mates(any_folder):
    queries, texts = pairs(plain_texts())
    single = scorer_of(any_folder)
    alone = np.array([single.score([query], [text], "w")[0] for query, text in zip(queries, texts, strict=True)])
    for budget in (1, 300, 100_000):
        assert_scores_agree(scorer_of(any_folder, batch_tokens=budget).score(queries, texts, "w"), alone)


def test_scores_come_back_in_the_order_given(folder):
    queries, texts = pairs(plain_texts())
    scorer = scorer_of(folder)
    scores = scorer.score(queries, texts, "w")
    order = np.random.default_rng(0).permutation(len(texts))
    assert_scores_agree(scorer.score([queries[i] for i in order], [texts[i] for i in order], "w"), scores[order])
    assert scorer.pairs_scored == 2 * len(texts) and scores.dtype == np.float32
    assert len(scorer.score([], [], "w")) == 0


def test_batches_side_by_side_give_the_same_scores(folder):
    queries, texts = pairs(plain_texts())
    one, four = scorer_of(folder, batch_tokens=64), scorer_of(folder, batch_tokens=64)
    one.workers, four.workers = 1, 4
    assert_scores_agree(four.score(queries, texts, "w"), one.score(queries, texts, "w"))


@needs_bfloat16
def test_half_precision_is_near_float32(any_folder):
    queries, texts = questions(8), passages(8)
    exact = scorer_of(any_folder).score(queries, texts, "w")
    half = scorer_of(any_folder, dtype=torch.bfloat16).score(queries, texts, "w")
    assert 0 < np.abs(half - exact).max() < 0.1


@pytest.mark.parametrize("text", ["word " * 20_000, "x" * 100_000, "[SEP]" * 20_000], ids=["words", "word", "special"])
def test_a_text_of_100_000_characters_takes_bounded_time_and_memory(folder, text, caplog):
    scorer = scorer_of(folder)
    started = time.perf_counter()
    assert np.isfinite(scorer.score(["cell", text, text], [text, "cell", text], "w")).all()
    assert time.perf_counter() - started < 10
    assert len(scorer.tokens("text", [text])[0]) <= 512
    assert not caplog.records


# merged weights ----------------------------------------------------------------------------------------------------

def merged_by_hand(triple, target, alpha, keep=()):
    """Writes Θ_T + α(Θ_D − Θ_0) in float64 arithmetic, of what all three have under one name, but for what is kept."""
    shutil.copytree(triple.ranker, target)
    ranker, domain, base = (load_file(path / "model.safetensors")
                            for path in (triple.ranker, triple.domain, triple.base))
    merged = {name: value.double() + alpha * (domain[name].double() - base[name].double())
              if name in domain and name in base and name not in keep else value.double()
              for name, value in ranker.items()}
    save_file({name: value.float() for name, value in merged.items()}, target / "model.safetensors",
              metadata={"format": "pt"})
    return target


def live(triple, scorer):
    vectors = {"domain": TaskVector(triple.domain, triple.base)}
    return LoadedWeights(scorer.module, make_plan(scorer.checkpoint, vectors), "memory")


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_merged_weights_are_those_of_a_folder_merged_by_hand(tmp_path, family):
    triple = cross_encoder_triple(tmp_path, family=family, activation=IDENTITY)
    queries, texts = pairs(plain_texts())
    scorer = scorer_of(triple.ranker)
    weights = live(triple, scorer)
    plain = scorer.score(queries, texts, "Θ_T")
    weights.set(WeightSetting("merged", (("domain", 0.7),)))
    scores = scorer.score(queries, texts, "Θ'")
    expected = predicted(merged_by_hand(triple, tmp_path / "merged", 0.7), queries, texts)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.abs(scores - plain).max() > 0.05


@pytest.mark.parametrize("saved_by", SAVED_BY)
@pytest.mark.parametrize("scorer", ["cross-encoder", "auto"])
def test_the_reranker_scores_with_merged_weights(tmp_path, scorer, saved_by):
    triple = cross_encoder_triple(tmp_path, saved_by=saved_by, activation=IDENTITY)
    reranker = TaskArithReranker(triple.ranker, triple.domain, triple.base, alpha=0.7, scorer=scorer, verbose=False)
    rows = frame()
    expected = predicted(merged_by_hand(triple, tmp_path / "merged", 0.7), rows["query"], rows["text"])
    np.testing.assert_allclose(reranker(rows)["score"], expected, atol=1e-5)


@pytest.mark.parametrize(("having", "merged"), [
    (("ranker",), False), (("ranker", "base"), False), (("ranker", "domain"), False),
    (("ranker", "base", "domain"), True)])
def test_a_pooler_is_merged_where_all_three_have_it(tmp_path, caplog, having, merged):
    triple = cross_encoder_triple(tmp_path, activation=IDENTITY, pooler_in=having)
    scorer = scorer_of(triple.ranker)
    weights = live(triple, scorer)
    why = {entry.name: entry.why for entry in weights.plan.entries}
    poolers = {"pooler.dense.weight", "pooler.dense.bias"}
    assert {name for name in why if why[name] != "merged"} == {
        "classifier.weight", "classifier.bias", *([] if merged else poolers)}
    assert set(weights.plan.unused).isdisjoint(poolers)
    queries, texts = questions(6), passages(6)
    weights.set(WeightSetting("merged", (("domain", 0.7),)))
    keep = () if merged else {f"bert.{name}" for name in poolers}
    folder = merged_by_hand(triple, tmp_path / "merged", 0.7, keep)
    np.testing.assert_allclose(scorer.score(queries, texts, "Θ'"), predicted(folder, queries, texts), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_that_the_base_lacks_is_the_rankers_and_said_so(tmp_path, caplog, family):
    triple = cross_encoder_triple(tmp_path, family=family, activation=IDENTITY)
    scorer = scorer_of(triple.ranker)
    weights = live(triple, scorer)
    queries, texts = questions(6), passages(6)
    with caplog.at_level(logging.WARNING, logger="pyterrier_taskarith"):
        weights.set(WeightSetting("base"))
    heads = {"bert": "pooler.dense.weight, pooler.dense.bias, classifier.weight, classifier.bias",
             "distilbert": "pre_classifier.weight, pre_classifier.bias, classifier.weight, classifier.bias"}
    dense = "classifier.dense.weight, classifier.dense.bias, classifier.out_proj.weight, classifier.out_proj.bias"
    assert f"has no {heads.get(family, dense)}: scored with Θ_T's" in caplog.text
    folder = tmp_path / "base with the head"
    shutil.copytree(triple.ranker, folder)
    ranker, base = (load_file(path / "model.safetensors") for path in (triple.ranker, triple.base))
    save_file({name: base.get(name, value) for name, value in ranker.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    np.testing.assert_allclose(scorer.score(queries, texts, "Θ_0"), predicted(folder, queries, texts), atol=1e-5)


@pytest.mark.parametrize("saved_by", SAVED_BY)
def test_a_saved_merge_loads_in_sentence_transformers(tmp_path, saved_by):
    modules = {"prompts": {"ask": "ask: "}, "default_prompt": "ask"} if saved_by == NEW else {}
    triple = cross_encoder_triple(tmp_path, saved_by=saved_by, activation=IDENTITY, **modules)
    (Checkpoint(triple.ranker) + 0.7 * TaskVector(triple.domain, triple.base)).save(tmp_path / "saved")
    queries, texts = questions(6), passages(6)
    expected = predicted(merged_by_hand(triple, tmp_path / "merged", 0.7), queries, texts)
    np.testing.assert_allclose(predicted(tmp_path / "saved", queries, texts), expected, atol=1e-5)
    np.testing.assert_allclose(scorer_of(tmp_path / "saved").score(queries, texts, "w"), expected, atol=1e-5)


# refusals ----------------------------------------------------------------------------------------------------------

def test_models_without_a_classification_head_are_refused(tmp_path):
    triple = cross_encoder_triple(tmp_path, pooler_in=())
    with pytest.raises(ScorerError, match="lacks 4 parameters of BertForSequenceClassification.*classifier.bias"):
        scorer_of(triple.base)
    with pytest.raises(ScorerError, match="lacks 2 parameters of BertForSequenceClassification.*pooler.dense.bias"):
        scorer_of(triple.ranker)


@pytest.mark.parametrize(("family", "role", "saved"), [
    ("bert", "ranker", []), ("distilbert", "ranker", ["classifier"]), ("roberta", "base", ["classifier"]),
    ("bert", "base", ["classifier", "pooler"])])
def test_a_folder_may_hold_an_adapter(tmp_path, family, role, saved):
    from peft import LoraConfig, get_peft_model
    from sentence_transformers import CrossEncoder as Reference

    triple = cross_encoder_triple(tmp_path, family=family, saved_by=NEW, activation=IDENTITY)
    model = Reference(str(getattr(triple, role)), num_labels=1, device="cpu", activation_fn=torch.nn.Identity())
    adapted = get_peft_model(model.model, LoraConfig(
        task_type="SEQ_CLS", r=4, init_lora_weights=False, modules_to_save=saved or None,
        target_modules=["q_lin", "v_lin"] if family == "distilbert" else ["query", "value"]))
    for name, parameter in adapted.named_parameters():
        if "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(tmp_path / "adapted")
    for path in triple.ranker.iterdir():
        if path.is_file() and path.name not in ("config.json", "model.safetensors"):
            shutil.copy(path, tmp_path / "adapted")
    queries, texts = pairs(plain_texts())
    expected = model.predict(list(zip(queries, texts, strict=True)), show_progress_bar=False)
    np.testing.assert_allclose(scorer_of(tmp_path / "adapted").score(queries, texts, "w"), expected, atol=1e-5)


def test_three_labels_are_refused(tmp_path):
    with pytest.raises(ScorerError, match="has 3 labels; a re-ranker has one"):
        scorer_of(cross_encoder_triple(tmp_path, labels=3).ranker)


def test_an_activation_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ScorerError, match="activation 'torch.nn.RReLU' is not supported; Identity, Sigmoid"):
        scorer_of(cross_encoder_triple(tmp_path, activation="torch.nn.RReLU").ranker)


@pytest.mark.parametrize(("file", "changed", "message"), [
    ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "with 'text-generation'"),
    ("sentence_bert_config.json", {"transformer_task": None}, "another output than 'last_hidden_state'"),
    ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 9}}}, "processing_kwargs = "),
    ("sentence_bert_config.json", {"processor_kwargs": {"model_max_length": 9, "truncation_side": "left"}},
     "arguments truncation_side are not supported"),
    ("sentence_bert_config.json", {"query_length": 9}, "a cross-encoder reads pairs"),
    ("sentence_bert_config.json", {"unheard_of": 1}, "unheard_of = 1: not known here"),
    ("config_sentence_transformers.json", {"unheard_of": 1}, "unheard_of = 1: not known here"),
    ("config_sentence_transformers.json", {"truncate_dim": 9}, "truncate_dim = 9: not supported here"),
    ("config_sentence_transformers.json", {"default_prompt_name": "find"}, "default prompt 'find' is not one"),
])
def test_what_would_change_scores_and_is_not_supported_is_refused(tmp_path, file, changed, message):
    folder = cross_encoder_triple(tmp_path, saved_by=NEW).ranker
    edit_json(folder / file, **changed)
    with pytest.raises(ScorerError, match=message):
        scorer_of(folder)


def test_modules_after_the_transformer_are_refused(tmp_path):
    folder = cross_encoder_triple(tmp_path, saved_by=NEW).ranker
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.base.modules.dense.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ScorerError, match="only a cross-encoder of one Transformer .* Transformer, Dense"):
        scorer_of(folder)


def test_facts_tell_apart_what_scores_apart(tmp_path):
    options = ({}, {"activation": IDENTITY}, {"labels": 2}, {"saved_by": NEW, "max_seq_length": 30},
               {"saved_by": NEW, "prompts": {"a": "a: "}, "default_prompt": "a"})
    facts = [str(scorer_of(cross_encoder_triple(tmp_path / str(number), layers=1, **option).ranker).facts)
             for number, option in enumerate(options)]
    assert len(set(facts)) == len(options)


def test_positions_counted_without_the_ends_of_a_text_are_refused(tmp_path):
    ranker = cross_encoder_triple(tmp_path, family="roberta").ranker
    edit_json(ranker / "config.json", pad_token_id=2)
    with pytest.raises(ScorerError, match=r"config\.json: pad_token_id = 2 is also '</s>' of its tokenizer"):
        scorer_of(ranker)
