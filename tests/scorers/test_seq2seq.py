"""monoT5 scores equal pyterrier_t5's one by one, and the whole model's; the decoder's short cut is exact."""

import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from pyterrier_taskarith.arithmetic import TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.families import PUBLISHED_RANKERS, PublishedRanker, published_ranker
from pyterrier_taskarith.scorers import ScorerError
from pyterrier_taskarith.scorers._seq2seq import first_step
from testing import passages, questions, t5_triple
from tests.reranking import assert_scores_agree, needs_bfloat16
from tests.scorers.reference import ODD_TEXTS, SPECIAL_TEXTS, pairs, plain_texts, scorer_of, t5_scores

TOKENS = {"t5": ("▁false", "▁true"), "mt5": ("▁no", "▁yes")}


@pytest.fixture(scope="module", params=["t5", "mt5"])
def any_folder(request, tmp_path_factory):
    return request.param, t5_triple(tmp_path_factory.mktemp(request.param), kind=request.param).ranker


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return t5_triple(tmp_path_factory.mktemp("t5")).ranker


def too_long() -> list[str]:
    """Returns texts and one query that do not fit in 512 tokens, one of them by a single token or so."""
    return [" ".join(passages(200, seed=7)), *(("cell " * count).strip() for count in range(495, 512)), "x" * 3000]


def monot5_scores(folder, queries, texts):
    """Returns pyterrier_t5's scores at batch size 1, where no score depends on batch mates."""
    from pyterrier_t5 import MonoT5ReRanker

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers 4 warns of its own defaults
        reranker = MonoT5ReRanker(tok_model=str(folder), model=str(folder), batch_size=1, verbose=False, device="cpu")
        frame = pd.DataFrame({"qid": "1", "query": queries, "docno": [f"d{i}" for i in range(len(texts))],
                              "text": texts})
        return reranker.transform(frame)["score"].to_numpy()


def test_the_prediction_tokens_are_single_and_distinct(any_folder):
    kind, folder = any_folder
    scorer = scorer_of(folder)
    ids = [scorer.tokenizer(token.removeprefix("▁"), add_special_tokens=False)["input_ids"] for token in TOKENS[kind]]
    assert [len(row) for row in ids] == [1, 1] and ids[0] != ids[1]
    assert scorer.rows.tolist() == [ids[0][0], ids[1][0]]


def test_scores_equal_pyterrier_t5_one_by_one(folder):
    queries, texts = pairs(plain_texts() + ["", *ODD_TEXTS[5:10]])
    queries, texts = queries + ["what is the cell"] * 19 + [too_long()[0]], texts + too_long() + ["cell growth"]
    expected = monot5_scores(folder, queries, texts)
    scores = scorer_of(folder).score(queries, texts, "w")
    assert expected.std() > 0.01
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_scores_equal_the_whole_model_on_the_whole_prompt(any_folder):
    kind, folder = any_folder
    queries, texts = pairs(plain_texts()[:-1] + ODD_TEXTS + SPECIAL_TEXTS)
    scorer = scorer_of(folder)
    prompts = [f"Query: {query} Document: {text} Relevant:" for query, text in zip(queries, texts, strict=True)]
    short = [i for i, prompt in enumerate(prompts) if len(scorer.tokenizer(prompt)["input_ids"]) <= 512]
    assert len(short) > 50
    expected = t5_scores(folder, [prompts[i] for i in short], TOKENS[kind])
    scores = scorer.score([queries[i] for i in short], [texts[i] for i in short], "w")
    assert expected.std() > 0.01
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_parts_tokenised_apart_are_the_prompt_tokenised_whole(folder):
    scorer = scorer_of(folder)
    generator = np.random.default_rng(0)
    pieces = [*SPECIAL_TEXTS, *ODD_TEXTS, "\u0301", "\u3099", "\u200d", "\ufeff", "\u2028", "\u0338", "a", " ",
              "=", "1", "true", "Relevant:"]
    queries, texts = (["".join(generator.choice(pieces, generator.integers(0, 5))) for _ in range(2000)]
                      for _ in range(2))
    rows = scorer_of(folder, max_length=5000).prompts(queries, texts)
    whole = scorer.tokenizer([f"Query: {query} Document: {text} Relevant:"
                              for query, text in zip(queries, texts, strict=True)])["input_ids"]
    assert [row.tolist() for row in rows] == whole


def test_paper_truncation_is_the_whole_prompt_cut_from_the_right(folder):
    scorer = scorer_of(folder, truncation="paper")
    texts = too_long() + plain_texts()
    queries = [*["what is the cell"] * (len(texts) - 1), too_long()[0]]
    whole = scorer.tokenizer([f"Query: {query} Document: {text} Relevant:"
                              for query, text in zip(queries, texts, strict=True)],
                             truncation=True, max_length=512)["input_ids"]
    assert [row.tolist() for row in scorer.prompts(queries, texts)] == whole
    np.testing.assert_allclose(scorer.score(queries, texts, "w"), t5_scores(folder, whole, TOKENS["t5"]), atol=1e-5)


def test_by_default_the_prompt_keeps_its_end_and_the_text_is_cut(folder):
    scorer = scorer_of(folder)
    tail = scorer.tokenizer("Relevant:")["input_ids"]
    assert tail[-1] == scorer.tokenizer.eos_token_id
    for row in scorer.prompts(["what is the cell"] * 19, too_long()):
        assert len(row) <= 512 and row[-len(tail):].tolist() == tail
    kept, cut = scorer_of(folder), scorer_of(folder, truncation="paper")
    assert kept.score(["cell"], ["cell growth"], "w") == cut.score(["cell"], ["cell growth"], "w")


def test_every_logit_of_the_short_cut_equals_the_whole_models(any_folder):
    kind, folder = any_folder
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    batch = AutoTokenizer.from_pretrained(folder)(passages(5), return_tensors="pt", padding=True)
    assert (batch["attention_mask"] == 0).any()
    with torch.inference_mode():
        start = torch.full((5, 1), model.config.decoder_start_token_id)
        expected = model(**batch, decoder_input_ids=start).logits[:, 0]
        encoded = model.get_encoder()(**batch).last_hidden_state
        logits = first_step(model, encoded, batch["attention_mask"], torch.arange(expected.shape[1]),
                            scaled=kind == "t5")
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_the_short_cut_holds_for_gated_layers_and_an_output_matrix_of_its_own():
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(1)
    config = T5Config(vocab_size=60, d_model=24, d_kv=5, d_ff=40, num_layers=2, num_decoder_layers=3, num_heads=3,
                      feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).eval()
    ids, mask = torch.randint(3, 60, (4, 9)), torch.ones(4, 9, dtype=torch.long)
    mask[1, 4:] = 0
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask, decoder_input_ids=torch.zeros(4, 1, dtype=torch.long))
        encoded = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = first_step(model, encoded, mask, torch.arange(60), scaled=False)
    torch.testing.assert_close(logits, expected.logits[:, 0], atol=1e-5, rtol=1e-5)


def test_scores_do_not_depend_on_batch_mates(folder):
    queries, texts = pairs(plain_texts() + ODD_TEXTS)
    single = scorer_of(folder)
    alone = np.array([single.score([query], [text], "w")[0] for query, text in zip(queries, texts, strict=True)])
    for budget in (1, 64, 300, 100_000):
        assert_scores_agree(scorer_of(folder, batch_tokens=budget).score(queries, texts, "w"), alone)


def test_scores_come_back_in_the_order_given(folder):
    queries, texts = pairs(plain_texts())
    scorer = scorer_of(folder)
    scores = scorer.score(queries, texts, "w")
    order = np.random.default_rng(0).permutation(len(texts))
    assert_scores_agree(scorer.score([queries[i] for i in order], [texts[i] for i in order], "w"), scores[order])
    assert_scores_agree(scorer.score(queries * 2, texts * 2, "w"), np.tile(scores, 2))


def test_batches_side_by_side_give_the_same_scores(folder):
    queries, texts = pairs(plain_texts())
    one, four = scorer_of(folder, batch_tokens=64), scorer_of(folder, batch_tokens=64)
    one.workers, four.workers = 1, 4
    assert_scores_agree(four.score(queries, texts, "w"), one.score(queries, texts, "w"))


def test_a_query_or_text_is_tokenised_once_whatever_the_weights(folder, monkeypatch):
    scorer = scorer_of(folder)
    seen: list[tuple[str, str]] = []
    tokenise = scorer._tokenise
    monkeypatch.setattr(scorer, "_tokenise", lambda kind, texts: (seen.extend((kind, text) for text in texts),
                                                                  tokenise(kind, texts))[1])
    for weights in ("Θ_T", "Θ_D", "Θ_0"):
        scorer.score(["cell", "cell"], ["growth", "cell"], weights)
    assert sorted(seen) == [("query", "cell"), ("text", "cell"), ("text", "growth")]


@pytest.mark.parametrize("text", ["word " * 20_000, "x" * 100_000, "日" * 100_000, "</s>" * 25_000],
                         ids=["words", "one word", "ideographs", "special"])
def test_a_text_of_100_000_characters_takes_bounded_time_and_memory(folder, text, caplog):
    scorer = scorer_of(folder)
    started = time.perf_counter()
    scores = scorer.score(["cell", text], [text, "cell"], "w")
    assert time.perf_counter() - started < 10
    assert np.isfinite(scores).all()
    assert len(scorer.tokens("text", [text])[0]) <= 512
    assert not caplog.records  # transformers says that the model cannot read it, which is not so


def test_empty_queries_and_texts_have_finite_scores(any_folder):
    assert np.isfinite(scorer_of(any_folder[1]).score(["", "", "cell"], ["", "cell", ""], "w")).all()


def test_a_tokenizer_without_the_prediction_tokens_is_refused(folder):
    with pytest.raises(ScorerError, match="nowhere.* are not two single tokens"):
        scorer_of(folder, token_false="▁nowhere", token_true="▁true")


def test_prediction_tokens_that_are_asked_for_are_those_of_pyterrier_t5_s_formula(folder):
    """The two logits' log-softmax, its other entry with the tokens exchanged."""
    given = scorer_of(folder).score(["cell"], ["a cell"], "w")
    exchanged = scorer_of(folder, token_false="▁true", token_true="▁false").score(["cell"], ["a cell"], "w")
    assert np.exp(given) + np.exp(exchanged) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("source", "tokens"), [
    ("castorini/monot5-base-msmarco", ("▁false", "▁true")),
    ("castorini/monot5-3b-med-msmarco@main", ("▁false", "▁true")),
    ("unicamp-dl/InRanker-base", ("▁false", "▁true")),
    ("Dundalia/TWOLAR-large", ("▁false", "▁true")),
    ("zeta-alpha-ai/monot5-3b-inpars-v2-scifact", ("▁false", "▁true")),
    ("unicamp-dl/mt5-base-en-msmarco", ("▁no", "▁yes")),
    ("unicamp-dl/mt5-base-mmarco-v2", ("▁no", "▁yes")),
    ("unicamp-dl/mt5-13b-mmarco-100k", ("▁", "▁true")),
    ("unicamp-dl/ptt5-base-pt-msmarco-100k-v2@main", ("▁não", "▁sim")),
    ("unicamp-dl/ptt5-base-en-pt-msmarco-10k-v1", ("▁não", "▁sim")),
    ("unicamp-dl/monoptt5-small", ("▁Não", "▁Sim")),
])
def test_published_rankers_are_known(source, tokens):
    found = published_ranker(source)
    assert found is not None and found.tokens == tokens
    assert ("Pergunta" in found.prompt) == ("monoptt5" in source)


def test_other_models_are_not_taken_for_published_rankers(folder):
    for source in ("google-t5/t5-base", "unicamp-dl/ptt5-base-portuguese-vocab", str(folder), "monot5-base-msmarco"):
        assert published_ranker(source) is None


def test_tokens_that_are_not_known_are_told_once_and_how_to_state_them(folder):
    with pytest.warns(UserWarning, match=r"prediction tokens of this ranker are not known.*token_false='▁false', "
                                         r"token_true='▁true'") as caught:
        scorer_of(folder)
    assert len(caught) == 1 and str(folder) in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer_of(folder, token_false="▁false", token_true="▁true")


def test_a_published_rankers_own_prompt_is_read(folder, monkeypatch):
    monkeypatch.setitem(PUBLISHED_RANKERS, str(folder), PublishedRanker(
        ("▁false", "▁true"), "Pergunta: {query} Documento: {text} Relevante:"))
    scorer = scorer_of(folder)
    assert scorer.prompts(["cell"], ["growth"])[0].tolist() == scorer.tokenizer(
        "Pergunta: cell Documento: growth Relevante:")["input_ids"]


@pytest.mark.parametrize(("options", "message"), [
    ({"max_length": 3}, "max_length=3 leaves no room"),
    ({"truncation": "middle"}, "truncation='middle'"),
])
def test_an_option_that_makes_no_prompt_is_refused(folder, options, message):
    with pytest.raises(ScorerError, match=message):
        scorer_of(folder, **options)


@needs_bfloat16
def test_half_precision_is_near_float32(folder):
    queries, texts = questions(8), passages(8)
    exact = scorer_of(folder).score(queries, texts, "w")
    half = scorer_of(folder, dtype=torch.bfloat16).score(queries, texts, "w")
    assert 0 < np.abs(half - exact).max() < 0.1


def test_a_merged_folder_says_the_words_of_the_ranker_it_was_made_from(folder, tmp_path, monkeypatch):
    vector = TaskVector(folder.with_name("domain"), folder.with_name("base"))
    merged = (Checkpoint(folder) + 0.5 * vector).save(tmp_path / "merged")
    monkeypatch.setitem(PUBLISHED_RANKERS, str(folder), PublishedRanker(("▁true", "▁false")))
    assert scorer_of(merged).prediction_tokens == ("▁true", "▁false")
