"""Bi-encoders score as sentence-transformers does, whatever a folder declares, and embed each text once."""

import json
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file

from pyterrier_taskarith.scorers import ScorerError, _scorer
from testing import bert_triple, lora_adapter, passages, questions, t5_triple, write_modules
from tests.reranking import assert_scores_agree, needs_bfloat16
from tests.scorers.reference import (
    ODD_TEXTS,
    SPECIAL_TEXTS,
    edit_json,
    pairs,
    plain_texts,
    scorer_of,
    sentence_transformers_scores,
)
from tests.scorers.settings import bi_encoder_scores

HIDDEN = 32
#: Whether sentence-transformers is older than 6.0.
OLD = int(version("sentence-transformers").split(".")[0]) < 6
PROMPTS = {"query": "the question: ", "document": "a passage of text: "}
OTHER_MODES = ("mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def pooling(folder: Path, *modes: str, **others: object) -> None:
    """Writes the pooling that older folders have: one flag a mode."""
    named = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "weightedmean": "weightedmean_tokens"}
    flags = {f"pooling_mode_{named.get(mode, mode)}": True for mode in modes}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": HIDDEN, **flags,
                                                                  **others}))


def add_module(folder: Path, kind: str, config: dict | None = None, weights: dict | None = None) -> Path:
    """Appends a module to a sentence-transformers folder."""
    modules = json.loads((folder / "modules.json").read_text())
    path = f"{len(modules)}_{kind}"
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": path,
                    "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / path).mkdir()
    if config is not None:
        (folder / path / "config.json").write_text(json.dumps(config))
    if weights is not None:
        save_file(weights, folder / path / "model.safetensors")
    return folder / path


def dense(folder: Path, wide: int = 12, activation: str = "torch.nn.modules.activation.Tanh", bias: bool = True,
          **others: object) -> Path:
    generator = torch.Generator().manual_seed(5)
    weights = {"linear.weight": torch.randn(wide, HIDDEN, generator=generator) / 6}
    if bias:
        weights["linear.bias"] = torch.randn(wide, generator=generator) / 6
    if others.get("use_residual") and wide != HIDDEN:
        weights["residual.weight"] = torch.randn(wide, HIDDEN, generator=generator) / 6
    return add_module(folder, "Dense", {"in_features": HIDDEN, "out_features": wide, "bias": bias,
                                        "activation_function": activation, **others}, weights)


def layer_norm(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(6)
    return add_module(folder, "LayerNorm", {"dimension": HIDDEN}, {
        "norm.weight": torch.randn(HIDDEN, generator=generator), "norm.bias": torch.randn(HIDDEN, generator=generator)})


def about(folder: Path, **changed: object) -> None:
    edit_json(folder / "config_sentence_transformers.json", **changed)


def transformer(folder: Path, **changed: object) -> None:
    edit_json(folder / "sentence_bert_config.json", **changed)


def saved_today(folder: Path) -> None:
    """Writes the folder again, as today's sentence-transformers does."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(folder), device="cpu").save_pretrained(str(folder))


def _old_config_name(folder: Path) -> None:
    (folder / "sentence_bert_config.json").rename(folder / "sentence_distilbert_config.json")


def _no_length_stated(folder: Path) -> None:
    (folder / "sentence_bert_config.json").unlink()


#: name -> (options of the factory, what is then changed in the ranker's folder)
FOLDERS = {
    "mean, cosine": ({}, None),
    "cls, dot, as tas-b": ({"family": "distilbert", "pooling": "cls", "similarity": "dot"}, None),
    "max, dot, normalised": ({"pooling": "max", "similarity": "dot", "normalize": True}, None),
    "mean, manhattan": ({}, lambda f: edit_json(f / "config_sentence_transformers.json",
                                                similarity_fn_name="manhattan")),
    "mean, euclidean": ({}, lambda f: edit_json(f / "config_sentence_transformers.json",
                                                similarity_fn_name="euclidean")),
    **{mode: ({"similarity": "dot"}, lambda f, mode=mode: pooling(f, mode)) for mode in OTHER_MODES},
    "cls and mean and max": ({"similarity": "dot"}, lambda f: pooling(f, "cls", "mean", "max")),
    "modes under the newer key": ({"similarity": "dot"}, lambda f: edit_json(
        f / "1_Pooling" / "config.json", pooling_mode=["mean", "cls"])),
    "no similarity stated": ({}, lambda f: edit_json(f / "config_sentence_transformers.json",
                                                     similarity_fn_name=None)),
    "roberta": ({"family": "roberta", "max_seq_length": 250}, None),
    "roberta, no length stated": ({"family": "roberta"}, _no_length_stated),
    "bert, no length stated": ({}, _no_length_stated),
    "short": ({"max_seq_length": 7}, None),
    "length under an older name": ({"family": "distilbert", "max_seq_length": 9}, _old_config_name),
    "transformer in a folder of its own": ({"transformer_path": "0_Transformer"}, None),
    "prompts": ({"prompts": PROMPTS}, None),
    "prompts of other names are not used": ({"prompts": {"query": "q: ", "passage": "p: ", "x": "x: "}}, lambda f:
                                            edit_json(f / "config_sentence_transformers.json",
                                                      default_prompt_name="x")),
    "a query prompt that is also the default": ({"prompts": {"query": "q: "}}, lambda f: edit_json(
        f / "config_sentence_transformers.json", default_prompt_name="query")),
    **{f"prompt not pooled, {mode}": ({"prompts": PROMPTS, "similarity": "dot"}, lambda f, mode=mode: pooling(
        f, mode, include_prompt=False)) for mode in ("mean", "cls", "max", "weightedmean")},
    "dense": ({}, dense),
    "dense, then normalised": ({"similarity": "dot"}, lambda f: (
        dense(f, activation="torch.nn.modules.linear.Identity"), add_module(f, "Normalize"))),
    "dense with a residual": ({"similarity": "dot"}, lambda f: dense(f, wide=HIDDEN, use_residual=True)),
    "dense with a projected residual": ({"similarity": "dot"}, lambda f: dense(f, use_residual=True)),
    "dense without bias, sigmoid": ({}, lambda f: dense(f, activation="torch.nn.Sigmoid", bias=False)),
    "dense, SiLU": ({}, lambda f: dense(f, activation="torch.nn.modules.activation.SiLU")),
    "layer norm": ({"similarity": "dot"}, layer_norm),
    "dropout": ({}, lambda f: add_module(f, "Dropout", {"dropout": 0.5})),
    "truncated": ({}, lambda f: about(f, truncate_dim=8)),
    "normalised, then truncated": ({"normalize": True, "similarity": "dot"}, lambda f: about(f, truncate_dim=8)),
    "length in the tokenizer's arguments": ({}, lambda f: transformer(f, tokenizer_args={"model_max_length": 8})),
    "length in the processor's arguments": ({}, lambda f: transformer(f, processor_kwargs={"model_max_length": 8})),
    "length under an old and a new name": ({}, lambda f: transformer(
        f, processor_kwargs={"model_max_length": 6}, tokenizer_args={"model_max_length": 9})),
    "an old name without the new one's length": ({"max_seq_length": 9}, lambda f: transformer(
        f, tokenizer_args={"use_fast": True}, processor_kwargs={"model_max_length": 6})),
    "old arguments in place of new ones": ({}, lambda f: transformer(
        f, model_kwargs={"output_hidden_states": True}, model_args={"attn_implementation": "eager"})),
    "arguments that change nothing": ({}, lambda f: transformer(
        f, model_args={"attn_implementation": "eager"}, unpad_inputs=False, processing_kwargs={})),
    "saved again": ({"max_seq_length": 20, "normalize": True, "prompts": PROMPTS}, saved_today),
    "saved again, truncated": ({}, lambda f: (about(f, truncate_dim=9), saved_today(f))),
    "lower case": ({"family": "roberta"}, lambda f: edit_json(f / "sentence_bert_config.json", do_lower_case=True)),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_scores_equal_sentence_transformers(tmp_path, name):
    if "residual" in name and OLD:
        pytest.skip("older ones do not know the key")
    options, change = FOLDERS[name]
    folder = bert_triple(tmp_path, hidden=HIDDEN, **options).ranker
    if change is not None:
        change(folder)
    queries, texts = pairs(plain_texts() + ODD_TEXTS + SPECIAL_TEXTS)
    expected = sentence_transformers_scores(folder, queries, texts)
    scores = scorer_of(folder).score(queries, texts, "w")
    assert scores.dtype == np.float32 and expected.std() > 1e-3
    # Sums over the hidden width are only as exact as they are large.
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: add_module(f, "WordWeights"), "'WordWeights' is not supported"),
    (lambda f: pooling(f, pooling_mode="median"), r"pooling \['median'\] is not supported"),
    (lambda f: edit_json(f / "config_sentence_transformers.json", similarity_fn_name="jaccard"), "'jaccard'"),
    (lambda f: dense(f, bias=True, in_features=HIDDEN + 1), r"linear.weight is \(12, 32\), but .*in_features = 33"),
    (lambda f: edit_json(dense(f) / "config.json", bias=False), "holds linear.bias, linear.weight, but .*config.json"),
    (lambda f: dense(f, module_input_name="token_embeddings"), "pooled embedding"),
    (lambda f: dense(f, activation="torch.nn.modules.activation.RReLU"), "RReLU' is not supported"),
    (lambda f: dense(f, activation="elsewhere.ReLU"), "activation 'elsewhere.ReLU' is not supported"),
    (lambda f: (f / "modules.json").write_text(json.dumps(json.loads((f / "modules.json").read_text())[:1])),
     "no Pooling"),
    (lambda f: (dense(f), add_module(f, "Pooling", {"pooling_mode": "mean"})), "'Pooling' is at another position"),
], ids=["module", "pooling", "similarity", "shape", "bias", "token-level", "activation", "foreign activation",
        "no pooling", "two poolings"])
def test_what_a_folder_asks_for_and_is_not_supported_is_named(tmp_path, change, message):
    folder = bert_triple(tmp_path, hidden=HIDDEN).ranker
    change(folder)
    with pytest.raises(ScorerError, match=message):
        scorer_of(folder)


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: about(f, unheard_of=1), "config_sentence_transformers.json: unheard_of = 1: not known here"),
    (lambda f: about(f, model_type="SparseEncoder"), "this is a SparseEncoder"),
    (lambda f: about(f, default_prompt_name="ask"), "the default prompt 'ask' is not one of its prompts"),
    (lambda f: transformer(f, unheard_of=None), "unheard_of = null: not known here"),
    (lambda f: transformer(f, unheard_of=0), "sentence_bert_config.json: unheard_of = 0: not known here"),
    (lambda f: transformer(f, processing_kwargs={"text": {"max_length": 7}}), "processing_kwargs = .*: not supported"),
    (lambda f: transformer(f, config_kwargs={"num_hidden_layers": 1}), "config_kwargs = .*: not supported"),
    (lambda f: transformer(f, config_args={"num_hidden_layers": 1}), "config_args = .*: not supported"),
    (lambda f: transformer(f, processor_kwargs={"truncation_side": "left"}), "arguments truncation_side are not"),
    (lambda f: transformer(f, model_kwargs={"num_labels": 3}), "the arguments num_labels are not supported"),
    (lambda f: transformer(f, transformer_task="fill-mask"), "transformer_task 'fill-mask' makes no embeddings"),
    (lambda f: pooling(f, "mean", attention=True), "1_Pooling/config.json: attention = true: not known here"),
    (lambda f: (f / "1_Pooling" / "config.json").unlink(), "1_Pooling/config.json is missing"),
    (lambda f: add_module(f, "Normalize", {"module_input_name": "token_embeddings"}), "Normalize.*pooled embedding"),
    (lambda f: (f / "modules.json").write_text((f / "modules.json").read_text().replace(
        "sentence_transformers.models.Pooling", "custom_pooling.Pooling")), "'custom_pooling.Pooling' is code beside"),
])
def test_a_setting_that_is_not_known_is_refused_by_name(tmp_path, change, message):
    folder = bert_triple(tmp_path, hidden=HIDDEN).ranker
    change(folder)
    if "null" in message:
        path = folder / "sentence_bert_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"unheard_of": None}))
    with pytest.raises(ScorerError, match=message):
        scorer_of(folder)


@pytest.mark.skipif(OLD, reason="older ones do not know the keys")
@pytest.mark.parametrize("lengths", [{"query_length": 4}, {"document_length": 6}, {"document_length": 100}])
def test_queries_and_documents_may_have_lengths_of_their_own(tmp_path, lengths):
    folder = bert_triple(tmp_path, hidden=HIDDEN, max_seq_length=20).ranker
    transformer(folder, **lengths)
    queries, texts = pairs(plain_texts())
    expected = sentence_transformers_scores(folder, queries, texts)
    np.testing.assert_allclose(scorer_of(folder).score(queries, texts, "w"), expected, atol=1e-5, rtol=1e-5)


def test_padding_on_the_left_changes_no_score(tmp_path):
    folder = bert_triple(tmp_path, hidden=HIDDEN, max_seq_length=20).ranker
    transformer(folder, processor_kwargs={"padding_side": "left"})
    queries, texts = pairs(plain_texts())
    expected = bi_encoder_scores(folder, queries, texts)  # in a batch, sentence-transformers' depend on the others
    np.testing.assert_allclose(scorer_of(folder).score(queries, texts, "w"), expected, atol=1e-5, rtol=1e-5)


def with_adapter(ranker: Path, base: Path, task: str) -> Path:
    """Returns a folder of sentence-transformers that holds an adapter of its base in place of a model."""
    folder = ranker.parent / "adapted"
    shutil.copytree(ranker, folder)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    lora_adapter(folder, base, targets=["query", "value"], task_type=task)
    return folder


def test_a_folder_may_hold_an_adapter(tmp_path):
    from peft import PeftModel
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel

    triple = bert_triple(tmp_path, max_seq_length=20, prefixed_base=False)
    folder = with_adapter(triple.ranker, triple.base, "FEATURE_EXTRACTION")
    queries, texts = pairs(plain_texts())
    model = SentenceTransformer(str(triple.ranker), device="cpu")
    merged = PeftModel.from_pretrained(AutoModel.from_pretrained(triple.base), str(folder)).merge_and_unload()
    model[0].auto_model.load_state_dict(merged.state_dict())
    options = {"convert_to_tensor": True, "show_progress_bar": False}
    expected = model.similarity_pairwise(model.encode_query(queries, **options),
                                         model.encode_document(texts, **options)).numpy()
    np.testing.assert_allclose(scorer_of(folder).score(queries, texts, "w"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_the_encoder_of_t5_may_be_pooled(tmp_path, kind):
    folder = t5_triple(tmp_path, kind=kind, tokenizer_json=True).ranker
    write_modules(folder, hidden=HIDDEN, pooling="mean", similarity="cosine", normalize=False, max_seq_length=20)
    dense(folder, activation="torch.nn.modules.linear.Identity", bias=False)
    add_module(folder, "Normalize")
    queries, texts = pairs(plain_texts())
    expected = sentence_transformers_scores(folder, queries, texts)
    np.testing.assert_allclose(scorer_of(folder).score(queries, texts, "w"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["GPT2", "DebertaV2"])
@pytest.mark.parametrize("stated", [None, 700])
def test_positions_that_are_not_a_table_limit_no_length(tmp_path, name, stated):
    import transformers

    kind = {"GPT2": {"n_embd": HIDDEN, "n_head": 2, "n_layer": 1, "n_positions": 600},
            "DebertaV2": {"hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2,
                          "intermediate_size": 32, "relative_attention": True, "position_biased_input": False,
                          "pos_att_type": ["p2c", "c2p"]}}[name]
    folder = bert_triple(tmp_path).ranker
    config = getattr(transformers, f"{name}Config")(vocab_size=500, **kind)
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    transformer(folder, max_seq_length=stated)
    edit_json(folder / "tokenizer_config.json", model_max_length=1000)
    queries, texts = ["cell growth"] * 2, ["cell " * 590, "growth " * 680]
    # GPT-2 has 600 positions, learned ones: what sentence-transformers would fail on is cut there.
    expected = {("GPT2", None): 600, ("GPT2", 700): 600, ("DebertaV2", None): 512, ("DebertaV2", 700): 700}
    scorer = scorer_of(folder)
    assert scorer.max_length == expected[name, stated]
    if (name, stated) != ("GPT2", 700):
        np.testing.assert_allclose(scorer.score(queries, texts, "w"), bi_encoder_scores(folder, queries, texts),
                                   atol=1e-5, rtol=1e-5)


def test_a_prompt_that_leaves_nothing_to_pool_is_refused(tmp_path):
    folder = bert_triple(tmp_path, hidden=HIDDEN, max_seq_length=6,
                         prompts={"query": "one two three four five "}).ranker
    scorer_of(folder)
    pooling(folder, "mean", include_prompt=False)
    with pytest.raises(ScorerError, match="the query prompt takes .* of 6 tokens, .* nothing would be left to pool"):
        scorer_of(folder)


def test_a_bare_encoder_is_pooled_by_mean_and_compared_by_cosine(tmp_path):
    from transformers import AutoModel, AutoTokenizer

    folder = bert_triple(tmp_path).base
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    queries, texts = questions(4), passages(4)

    def embed(text: str) -> torch.Tensor:
        with torch.inference_mode():
            return model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=512)).last_hidden_state[
                0].mean(0)

    expected = [float(functional.cosine_similarity(embed(query), embed(text), dim=0))
                for query, text in zip(queries, texts, strict=True)]
    np.testing.assert_allclose(scorer_of(folder, "bi-encoder").score(queries, texts, "w"), expected, atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("bi")).ranker


def test_scores_do_not_depend_on_batch_mates(folder):
    queries, texts = pairs(plain_texts() + ODD_TEXTS)
    alone = np.array([scorer_of_one.score([query], [text], (query, text))[0] for scorer_of_one in [scorer_of(folder)]
                      for query, text in zip(queries, texts, strict=True)])
    for budget in (1, 64, 300, 100_000):
        scores = scorer_of(folder, batch_tokens=budget).score(queries, texts, "w")
        assert_scores_agree(scores, alone)


def test_scores_come_back_in_the_order_given(folder):
    queries, texts = pairs(plain_texts())
    scores = scorer_of(folder).score(queries, texts, "w")
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = scorer_of(folder).score([queries[i] for i in order], [texts[i] for i in order], "w")
    assert_scores_agree(shuffled, scores[order])
    twice = scorer_of(folder).score(queries * 2, texts * 2, "w")
    assert_scores_agree(twice, np.tile(scores, 2))


def test_each_distinct_text_is_embedded_once_per_weights(folder):
    scorer = scorer_of(folder)
    queries, texts = questions(3), passages(5)
    every = [(query, text) for query in queries for text in texts] * 2
    scorer.score(*map(list, zip(*every, strict=True)), "Θ_T")
    assert scorer.texts_embedded == 3 + 5
    scorer.score([queries[0]], [passages(6)[5]], "Θ_T")
    assert scorer.texts_embedded == 3 + 5 + 1
    scorer.score(*map(list, zip(*every, strict=True)), "Θ_D")
    assert scorer.texts_embedded == 3 + 5 + 1 + 8


def test_a_text_is_tokenised_once_whatever_the_weights(folder, monkeypatch):
    scorer = scorer_of(folder)
    seen: list[tuple[str, str]] = []
    tokenise = scorer._tokenise
    monkeypatch.setattr(scorer, "_tokenise", lambda kind, texts: (seen.extend((kind, text) for text in texts),
                                                                  tokenise(kind, texts))[1])
    for weights in ("Θ_T", "Θ_D", "Θ_0"):
        scorer.score(["cell", "cell"], ["growth", "cell"], weights)
    assert sorted(seen) == [("document", "cell"), ("document", "growth"), ("query", "cell")]


def test_the_tokenizer_gets_few_texts_at_a_time(folder, monkeypatch):
    queries, texts = [query for query in questions(2) for _ in range(7)], passages(7) * 2
    expected = scorer_of(folder).score(queries, texts, "w")
    monkeypatch.setattr(_scorer, "TOKENISED_AT_ONCE", 3)
    scorer, sizes = scorer_of(folder), []
    tokenise = scorer._tokenise
    monkeypatch.setattr(scorer, "_tokenise", lambda kind, part: (sizes.append(len(part)), tokenise(kind, part))[1])
    np.testing.assert_array_equal(scorer.score(queries, texts, "w"), expected)
    assert sizes == [2, 3, 3, 1] and len(set(texts)) == 7


def test_remembered_embeddings_belong_to_their_weights(folder):
    scorer = scorer_of(folder)
    queries, texts = questions(3), passages(3)
    before = scorer.score(queries, texts, "one")
    with torch.no_grad():
        scorer.module.encoder.layer[0].output.dense.weight.mul_(3)
    changed = scorer.score(queries, texts, "another")
    assert np.abs(changed - before).max() > 1e-3
    np.testing.assert_array_equal(scorer.score(queries, texts, "one"), before)


@pytest.mark.parametrize("asked", [2, 1, 513, 100_000])
def test_a_length_the_model_cannot_read_is_refused(folder, asked):
    with pytest.raises(ScorerError, match=rf"max_length={asked}: .*512 positions"):
        scorer_of(folder, max_length=asked)


def test_roberta_reads_as_many_tokens_as_it_has_positions_after_the_paddings(tmp_path):
    folder = bert_triple(tmp_path, family="roberta").ranker
    _no_length_stated(folder)
    edit_json(folder / "tokenizer_config.json", model_max_length=None)
    scorer = scorer_of(folder)
    assert scorer.max_length == 514 - 2
    assert np.isfinite(scorer.score(["cell"], ["cell growth " * 2000], "w")).all()


def test_max_length_is_the_users_where_given(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    edit_json(tmp_path / "copy" / "sentence_bert_config.json", max_seq_length=11)
    queries, texts = questions(5), passages(5)
    np.testing.assert_array_equal(scorer_of(folder, max_length=11).score(queries, texts, "w"),
                                  scorer_of(tmp_path / "copy").score(queries, texts, "w"))


@pytest.mark.parametrize("text", ["word " * 20_000, "x" * 100_000, "日" * 100_000, "👩‍👩‍👧" * 20_000, "[SEP]" * 20_000],
                         ids=["words", "one word", "ideographs", "emoji", "special"])
def test_a_text_of_100_000_characters_takes_bounded_time_and_memory(folder, text):
    scorer = scorer_of(folder)
    started = time.perf_counter()
    scores = scorer.score(["cell", ""], [text, text], "w")
    assert time.perf_counter() - started < 10
    assert np.isfinite(scores).all()
    assert len(scorer.tokens("document", [text])[0]) <= 64  # what this folder states


def test_empty_texts_have_finite_scores(folder):
    assert np.isfinite(scorer_of(folder).score(["", "", "cell"], ["", "cell", ""], "w")).all()


@pytest.mark.parametrize(("dtype", "within"), [
    pytest.param(torch.bfloat16, 0.05, marks=needs_bfloat16), (torch.float16, 5e-3)])
def test_half_precision_is_near_float32(folder, dtype, within):
    queries, texts = questions(8), passages(8)
    exact = scorer_of(folder).score(queries, texts, "w")
    half = scorer_of(folder, dtype=dtype).score(queries, texts, "w")
    assert 0 < np.abs(half - exact).max() < within
