"""Query likelihoods equal RankingGPT's one by one; sharing a document between queries changes nothing."""

import time

import numpy as np
import pytest
import torch

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers import Causal, ScorerError, ScorerOptions
from pyterrier_taskarith.scorers import _causal_rows as rows_module
from pyterrier_taskarith.scorers._causal_rows import Prompt, batch_of, pack
from testing import bert_triple, llama_triple, passages, questions
from tests.reranking import assert_scores_agree, needs_bfloat16
from tests.scorers.causal_reference import PROMPT, query_likelihoods
from tests.scorers.reference import CPU, ODD_TEXTS, SPECIAL_TEXTS, edit_json, pairs, plain_texts, scorer_of

TRUNCATIONS = ["keep_prompt", "paper"]
LONG_QUERY = " ".join(questions(40, seed=8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama_triple(tmp_path_factory.mktemp("llama"), kv_heads=2, pad_token={"ranker": True}).ranker


@pytest.fixture(scope="module", params=["tokenizer.model", "tokenizer.json", "[PAD]"])
def any_folder(request, tmp_path_factory):
    return llama_triple(tmp_path_factory.mktemp("llama"), layers=1, tokenizer_json=request.param == "tokenizer.json",
                        pad_token=request.param == "[PAD]").ranker


def asked_pairs(texts: list[str]) -> tuple[list[str], list[str]]:
    """Returns pairs with queries that have tokens."""
    kept = [(query, text) for query, text in zip(*pairs(texts), strict=True) if query]
    return [query for query, _ in kept], [text for _, text in kept]


def long_pairs() -> tuple[list[str], list[str]]:
    """Returns pairs about the limits of both truncations, some off by a token."""
    texts = [" ".join(passages(60, seed=7)), *(("cell " * count).strip() for count in (254, 255, 256, 257, *range(
        478, 500))), "日本語" * 300, "x" * 2000]
    return ["what is the cell"] * len(texts) + [LONG_QUERY] * 3, [*texts, *texts[:2], "cell growth"]


# --- the score


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_scores_equal_rankinggpt_one_by_one(folder, truncation):
    queries, texts = asked_pairs(plain_texts() + ODD_TEXTS + SPECIAL_TEXTS)
    more = long_pairs()
    queries, texts = queries + more[0], texts + more[1]
    expected = query_likelihoods(folder, queries, texts, truncation)
    scores = scorer_of(folder, truncation=truncation).score(queries, texts, "w")
    assert scores.dtype == np.float32 and expected[:20].std() > 0.1
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_scores_equal_rankinggpt_with_every_tokenizer(any_folder):
    queries, texts = asked_pairs(plain_texts()[:4] + ODD_TEXTS + SPECIAL_TEXTS)
    for truncation in TRUNCATIONS:
        np.testing.assert_allclose(scorer_of(any_folder, truncation=truncation).score(queries, texts, "w"),
                                   query_likelihoods(any_folder, queries, texts, truncation), atol=1e-5)


@pytest.mark.parametrize("kind", ["mistral", "qwen2"])
def test_other_causal_models_are_scored_alike(kind, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = llama_triple(tmp_path, layers=1, tokenizer_json=True).ranker
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, vocab_size=700, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                  num_key_value_heads=2, intermediate_size=48, initializer_range=0.2,
                                  max_position_embeddings=600, tie_word_embeddings=kind == "qwen2")
    for path in folder.glob("model*"):
        path.unlink()
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    queries, texts = questions(6, seed=2) * 4, [text for text in passages(4, seed=2) for _ in range(6)]
    scorer = scorer_of(folder)
    np.testing.assert_allclose(scorer.score(queries, texts, "w"), query_likelihoods(folder, queries, texts,
                                                                                  "keep_prompt"), atol=1e-5)
    assert scorer.tokens_computed < 0.5 * sum(len(prompt.ids) for prompt in scorer.prompts(queries, texts))


def test_max_length_stands_for_rankinggpts_512(folder):
    queries, texts = asked_pairs(plain_texts())
    kept = [place for place, query in enumerate(queries) if len(query) < 100]
    queries, texts = [queries[place] for place in kept], [texts[place] for place in kept]
    short = scorer_of(folder, max_length=90).score(queries, texts, "w")
    np.testing.assert_allclose(short, query_likelihoods(folder, queries, texts, "keep_prompt", 90), atol=1e-5)
    assert np.abs(short - scorer_of(folder).score(queries, texts, "w")).max() > 0.1


def test_empty_texts_are_scored_and_queries_without_tokens_tie_at_zero(folder):
    for truncation in TRUNCATIONS:
        scores = scorer_of(folder, truncation=truncation).score(["", "", "cell", "cell"], ["", "cell", "", " "], "w")
        assert scores[:2].tolist() == [0, 0] and (scores[2:] < 0).all()
        # "://" is one token with the prompt's own colon, so there is nothing after "Query:"; RankingGPT gives NaN.
        assert scorer_of(folder, truncation=truncation).score(["//"], ["cell"], "w").tolist() == [0]


@needs_bfloat16
def test_half_precision_is_near_float32(folder):
    queries, texts = questions(8), passages(8)
    exact = scorer_of(folder).score(queries, texts, "w")
    for dtype in (torch.bfloat16, torch.float16):
        half = scorer_of(folder, dtype=dtype).score(queries * 2, texts * 2, "w")  # shared rows too
        assert half.dtype == np.float32 and 0 < np.abs(half[:8] - exact).max() < 0.2
        np.testing.assert_allclose(half[8:], half[:8], atol=0.1)


# --- prompts


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_prompts_made_of_parts_are_the_prompt_tokenised_whole(any_folder, truncation):
    scorer = scorer_of(any_folder, truncation=truncation)
    tokenizer = scorer.tokenizer
    generator = np.random.default_rng(0)
    pieces = [*SPECIAL_TEXTS, *ODD_TEXTS[:-1], "\u0301", "\u3099", "\u200d", "\ufeff", "\u2028", "\u0338", "a", " ",
              "  ", "   ", "=", "1", "true", "Query:", "://", ":", ":=", "cell growth.", "\n", "日"]
    queries, texts = (["".join(generator.choice(pieces, generator.integers(0, 5))) for _ in range(1000)]
                      for _ in range(2))
    for query, text, prompt in zip(queries, texts, scorer.prompts(queries, texts), strict=True):
        text = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)[:256])
        if truncation == "paper":
            query = tokenizer.decode(tokenizer.encode(query, add_special_tokens=False)[:128])
        source = PROMPT.format(doc=text)
        assert prompt.ids.tolist() == tokenizer(source + query)["input_ids"], (query, text)
        assert prompt.start == len(tokenizer(source)["input_ids"])


def test_spaces_at_the_end_of_a_text_join_with_the_prompts(folder):
    # What makes it necessary to tokenise some prompts whole: without it, this one's tokens are wrong.
    scorer = scorer_of(folder)
    lead = scorer.tokenizer("Query:", add_special_tokens=False)["input_ids"]
    assert scorer.tokenizer("Document: cell  Query:")["input_ids"][-len(lead):] != lead
    assert scorer.tokenizer("Document: cell Query:")["input_ids"][-len(lead):] == lead


def test_documents_get_what_prompt_and_query_leave(folder):
    scorer = scorer_of(folder)
    encode = scorer.tokenizer.encode
    for query in ("cell", LONG_QUERY):
        prompt = scorer.prompts([query], ["cell " * 600])[0]
        room = 512 - len(encode(PROMPT)) - len(encode(query)) - 10
        assert 0 < room < 500 and prompt.start == len(encode(PROMPT.format(doc=("cell " * room).strip())))
        assert 480 < len(prompt.ids) <= 512
    prompt = scorer.prompts([LONG_QUERY * 9], ["cell " * 600])[0]
    assert prompt.start == len(encode(PROMPT.format(doc=""))) and 480 < len(prompt.ids) <= 512


def test_paper_truncation_reads_256_tokens_of_a_text_and_128_of_a_query(folder):
    prompt = scorer_of(folder, truncation="paper").prompts(["cell " * 600], ["cell " * 600])[0]
    encode, source = scorer_of(folder).tokenizer.encode, PROMPT.format(doc=("cell " * 256).strip())
    assert prompt.start == len(encode(source))
    assert prompt.ids.tolist() == encode(source + ("cell " * 128).strip())


def test_the_padding_token_is_not_read_from_a_text(folder):
    scorer = scorer_of(folder)
    assert scorer.tokenizer.pad_token == "[PAD]"
    prompts = scorer.prompts(["what [PAD] is", "what PAD is"], ["a [PAD] b", "a PAD b"])
    assert scorer.tokenizer.pad_token_id not in prompts[0].ids
    assert prompts[0].ids.tolist() == prompts[1].ids.tolist()


def test_a_query_or_text_is_tokenised_once_whatever_the_weights(folder, monkeypatch):
    scorer = scorer_of(folder)
    seen: list[tuple[str, str]] = []
    tokenise = scorer._tokenise
    monkeypatch.setattr(scorer, "_tokenise", lambda kind, texts: (seen.extend((kind, text) for text in texts),
                                                                  tokenise(kind, texts))[1])
    for weights in ("Θ_T", "Θ_D", "Θ_0"):
        scorer.score(["cell", "cell growth"], ["growth", "growth"], weights)
    assert sorted(seen) == [("query", "cell"), ("query", "cell growth"), ("source", "growth"), ("tail", "cell"),
                            ("tail", "cell growth"), ("text", "growth")]


@pytest.mark.parametrize("text", ["word " * 20_000, "x" * 100_000, "日" * 100_000, "</s>" * 25_000],
                         ids=["words", "one word", "ideographs", "special"])
def test_a_text_of_100_000_characters_takes_bounded_time_and_memory(folder, text, caplog):
    scorer = scorer_of(folder)
    started = time.perf_counter()
    scores = scorer.score(["cell", text], [text, "cell"], "w")
    assert time.perf_counter() - started < 10
    assert np.isfinite(scores).all() and scorer.tokens_computed < 1100
    assert not caplog.records


def test_a_cut_within_a_character_spoils_that_character_alone(folder):
    # The fast tokenizer's decoder would turn all three into marks, and the document into three times as many tokens.
    scorer = scorer_of(folder, truncation="paper")
    room = 256
    for left, marks in ((0, ""), (1, "\ufffd"), (2, "\ufffd\ufffd")):
        text = "cell " * (room - 4 - left) + "日日"
        ids = scorer.tokenizer.encode(text, add_special_tokens=False)
        assert ids[room - 3 - left:room][:1] == scorer.tokenizer.convert_tokens_to_ids(["<0xE6>"])
        expected = PROMPT.format(doc="cell " * (room - 4 - left) + "日" + marks)
        assert scorer.prompts(["cell"], [text])[0].start == len(scorer.tokenizer.encode(expected))


# --- batches


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_scores_do_not_depend_on_batch_mates(folder, truncation):
    queries, texts = pairs(plain_texts() + ODD_TEXTS)
    single = scorer_of(folder, truncation=truncation)
    alone = np.array([single.score([query], [text], "w")[0] for query, text in zip(queries, texts, strict=True)])
    for budget in (1, 300, 100_000):
        scores = scorer_of(folder, truncation=truncation, batch_tokens=budget).score(queries, texts, "w")
        assert_scores_agree(scores, alone)


def test_scores_come_back_in_the_order_given(folder):
    queries, texts = pairs(plain_texts())
    scorer = scorer_of(folder)
    scores = scorer.score(queries, texts, "w")
    order = np.random.default_rng(0).permutation(len(texts))
    assert_scores_agree(scorer.score([queries[i] for i in order], [texts[i] for i in order], "w"), scores[order])
    assert scorer.pairs_scored == 2 * len(texts) and scorer.score([], [], "w").shape == (0,)


def test_batches_side_by_side_give_the_same_scores(folder):
    queries, texts = pairs(plain_texts())
    one, four = scorer_of(folder, batch_tokens=64), scorer_of(folder, batch_tokens=64)
    one.workers, four.workers = 1, 4
    assert_scores_agree(four.score(queries, texts, "w"), one.score(queries, texts, "w"))


def test_logits_are_computed_in_pieces_and_for_the_querys_tokens_alone(folder, monkeypatch):
    queries, texts = questions(9), [passages(1)[0]] * 3 + passages(6, seed=5)
    scorer = scorer_of(folder)
    expected = scorer.score(queries, texts, "w")
    sizes: list[int] = []
    scorer.module.lm_head.register_forward_hook(lambda layer, inputs, logits: sizes.append(len(inputs[0])))
    monkeypatch.setattr(rows_module, "LOGITS", 2103)  # three of 701
    assert_scores_agree(scorer.score(queries, texts, "w"), expected)
    prompts = scorer.prompts(queries, texts)
    # Three queries share a document, and with it the position that their first tokens come after.
    assert max(sizes) == 3 and sum(sizes) == sum(len(prompt.ids) - prompt.start for prompt in prompts) - 2


# --- rows that share a document


def many_to_many() -> tuple[list[str], list[str]]:
    texts, asked = [*passages(5, seed=3, longest=9), "", "ends in spaces  "], [*questions(30, seed=3), "", "://x", "!"]
    order = np.random.default_rng(1).permutation(len(texts) * len(asked))
    return [asked[i % len(asked)] for i in order], [texts[i // len(asked)] for i in order]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_queries_that_share_a_document_score_as_alone(folder, attention):
    queries, texts = many_to_many()
    scorer = scorer_of(folder)
    scorer.module.set_attn_implementation(attention)
    counted: list[int] = []
    scorer.module.model.register_forward_pre_hook(
        lambda module, args, given: counted.append(given["input_ids"].numel()), with_kwargs=True)
    together = scorer.score(queries, texts, "w")
    alone = Causal(Checkpoint(folder), ScorerOptions(torch.float32, CPU))
    alone._longest_shared = 0
    assert_scores_agree(together, alone.score(queries, texts, "w"))
    prompts = {prompt.ids.tobytes(): len(prompt.ids) - 1 for prompt in scorer.prompts(queries, texts)}
    assert sum(counted) < 0.25 * sum(prompts.values())
    assert alone.tokens_computed > 4 * scorer.tokens_computed


def test_a_document_with_very_many_queries_is_split_into_rows(monkeypatch):
    monkeypatch.setattr(rows_module, "SHARED_TOKENS", 20)
    head = np.arange(8, dtype=np.int32)
    prompts = [Prompt(np.concatenate([head, np.full(4, place, dtype=np.int32)]), 8) for place in range(10)]
    rows = pack(prompts, 10**6)
    assert [place for row in rows for place in row.indices] == list(range(10))
    assert [len(row.indices) for row in rows] == [4, 4, 2] and all(len(row) <= 20 for row in rows)
    assert [len(row.indices) for row in pack(prompts, 0)] == [1] * 10
    assert [len(row.indices) for row in pack(prompts, 14)] == [2] * 5


def test_the_mask_of_a_shared_row_is_the_one_drawn_here():
    ids = np.array([7, 8, 9], dtype=np.int32)
    prompts = [Prompt(np.concatenate([ids, np.array(tail, dtype=np.int32)]), 3) for tail in ([1, 2, 3], [4, 5], [6])]
    other = Prompt(np.array([7, 1, 2, 3], dtype=np.int32), 1)
    batch = batch_of(pack([*prompts, other], 100), CPU, torch.float32)
    assert batch.ids.tolist() == [[7, 8, 9, 1, 2, 4], [7, 1, 2, 0, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 2, 0, 0, 0]]
    drawn = ["x.....", "xx....", "xxx...", "xxxx..", "xxxxx.", "xxx..x"]
    assert ["".join("x" if seen == 0 else "." for seen in row) for row in batch.mask[0, 0].tolist()] == drawn
    assert batch.mask[batch.mask != 0].unique().tolist() == [torch.finfo(torch.float32).min]
    assert batch.sources.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert batch.picks.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert batch.targets.tolist() == [1, 4, 6, 2, 3, 5, 1, 2, 3]
    assert batch.owners.tolist() == [0, 1, 2, 0, 0, 1, 3, 3, 3]
    alone = batch_of(pack([other], 100), CPU, torch.float32)
    assert alone.mask is None and alone.positions is None


# --- errors


@pytest.mark.parametrize(("options", "message"), [
    ({"truncation": "middle"}, "truncation='middle'"),
    ({"max_length": 20}, "max_length=20: the prompt takes"),
    ({"max_length": 5000}, "the model has 4096 positions"),
    ({"max_length": 300, "truncation": "paper"}, "max_length=300 has no effect with truncation='paper'"),
])
def test_an_option_that_makes_no_prompt_is_refused(folder, options, message):
    with pytest.raises(ScorerError, match=message):
        scorer_of(folder, **options)


def test_a_model_that_is_not_scored_this_way_is_refused(tmp_path):
    with pytest.raises(ScorerError, match="a 'bert' model is not known to be scored by query likelihood"):
        scorer_of(bert_triple(tmp_path / "bert").base, "causal")
    headless = llama_triple(tmp_path / "llama", layers=1, layout="safetensors").ranker
    edit_json(headless / "config.json", num_hidden_layers=2)
    with pytest.raises(ScorerError, match="lacks 9 parameters of LlamaForCausalLM"):
        scorer_of(headless)


def test_facts_name_what_decides_a_score(folder):
    kept, paper = scorer_of(folder).facts, scorer_of(folder, truncation="paper").facts
    assert kept["max_length"] == 512 and paper["max_length"] is None and kept["scorer"] == "Causal"
    assert kept != paper and scorer_of(folder, max_length=100).facts != kept


def test_a_tokenizer_that_ends_every_text_is_refused(tmp_path):
    folder = llama_triple(tmp_path, tokenizer_json=True).ranker
    edit_json(folder / "tokenizer_config.json", add_eos_token=True)
    tokenizer = Checkpoint(folder).tokenizer()
    if tokenizer("x")["input_ids"][-1] != tokenizer.eos_token_id:
        pytest.skip("transformers 5 lets tokenizer.json decide")
    with pytest.raises(ScorerError, match="ends every text with 2 .*set add_eos_token = false"):
        scorer_of(folder)
