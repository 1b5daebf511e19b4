"""Vocabularies of different size or order: rows are merged token by token, extra rows of Θ_T are kept."""

import pytest
import torch

from pyterrier_taskarith.arithmetic import LoadedWeights, MergeError, TaskVector, WeightSetting, make_plan
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from testing import t5_triple
from tests.arithmetic.folders import copy_of, reorder_tokens, tokens_of
from tests.arithmetic.modules import differing, module_of, weights_of
from tests.checkpoints.by_hand import parameters, raw, rewrite_config, same_bits

EMBEDDING = "embeddings.word_embeddings.weight"
ALPHA = 0.7


@pytest.fixture
def triple(bert, tmp_path):
    """A copy of `bert` whose tokens a test changes."""
    return copy_of(bert.triple, tmp_path / "triple")


def longer(folder, place) -> None:
    tokens = tokens_of(folder)
    reorder_tokens(folder, [*tokens[:place], "<new>", *tokens[place:]])


def swapped(folder, first, second) -> None:
    tokens = tokens_of(folder)
    tokens[first], tokens[second] = tokens[second], tokens[first]
    reorder_tokens(folder, tokens)


def by_token(folder, prefix="") -> dict[str, torch.Tensor]:
    """Token -> its row of the embedding."""
    embedding = raw(folder)[prefix + EMBEDDING]
    return {token: embedding[row] for row, token in enumerate(tokens_of(folder))}


def expected_rows(triple) -> torch.Tensor:
    """Θ' of the embedding, a row at a time: tokens that all three have are merged, others are Θ_T's."""
    ranker, domain, base = by_token(triple.ranker), by_token(triple.domain, "bert."), by_token(triple.base, "bert.")
    return torch.stack([
        torch.add(row, domain[token] - base[token], alpha=ALPHA) if token in domain and token in base else row
        for token, row in ranker.items()])


def assert_merged_by_token(triple, tmp_path) -> None:
    """Asserts it of a merge, a saved one, a saved vector and a living module in memory and streamed."""
    ranker, vector = Checkpoint(triple.ranker), TaskVector(triple.domain, triple.base)
    merge = ranker + ALPHA * vector
    # Rows are added one by one here and together there: equal to the last place, whether the processor fuses or not.
    torch.testing.assert_close(merge.tensor(EMBEDDING), expected_rows(triple), rtol=2e-7, atol=1e-7)
    assert same_bits(raw(merge.save(tmp_path / "merged"))[EMBEDDING], merge.tensor(EMBEDDING))
    loaded = TaskVector.load(vector.save(tmp_path / "v.safetensors"))
    assert same_bits((ranker + ALPHA * loaded).tensor(EMBEDDING), merge.tensor(EMBEDDING))
    for where in ("memory", "disk"):
        weights = LoadedWeights(module_of(triple.ranker), make_plan(ranker, {"v": vector}), where)
        for _ in range(2):
            weights.set(WeightSetting("merged", (("v", ALPHA),)))
            assert not differing(weights_of(weights.module), {name: merge.tensor(name) for name in ranker.shapes})
            weights.set(WeightSetting("ranker"))
            assert same_bits(weights.module.embeddings.word_embeddings.weight.data, raw(triple.ranker)[EMBEDDING])


@pytest.mark.parametrize("place", [5, -1])
@pytest.mark.parametrize("roles", [["ranker"], ["domain"], ["base"], ["domain", "base"], ["ranker", "domain"]])
def test_one_token_more_in_some_of_the_three_is_merged_by_token(triple, tmp_path, roles, place):
    for role in roles:
        longer(getattr(triple, role), place)
    plan = make_plan(Checkpoint(triple.ranker), {"v": TaskVector(triple.domain, triple.base)})
    why = plan.to_frame().set_index("name")["why"][EMBEDDING]
    count = len(tokens_of(triple.ranker))
    assert why == (f"rows {count - 1} of {count} merged" if "ranker" in roles else "merged")
    assert_merged_by_token(triple, tmp_path)


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("role", ["ranker", "domain", "base"])
def test_base_and_domain_are_set_by_token_and_tokens_they_lack_stay_the_rankers(triple, role, where):
    longer(getattr(triple, role), 5)
    plan = make_plan(Checkpoint(triple.ranker), {"v": TaskVector(triple.domain, triple.base)})
    weights, own = LoadedWeights(module_of(triple.ranker), plan, where), by_token(triple.ranker)
    for kind in ("domain", "base", "domain"):
        weights.set(WeightSetting("merged", (("v", ALPHA),)))
        weights.set(WeightSetting(kind))
        rows = by_token(getattr(triple, kind), "bert.")
        assert same_bits(weights.module.embeddings.word_embeddings.weight.data,
                         torch.stack([rows.get(token, own[token]) for token in own]))


def test_the_rankers_extra_row_is_kept_bit_for_bit_and_the_summary_says_so(triple):
    longer(triple.ranker, 7)
    merge = Checkpoint(triple.ranker) + TaskVector(triple.domain, triple.base)
    assert same_bits(merge.tensor(EMBEDDING)[7], raw(triple.ranker)[EMBEDDING][7])
    count = len(tokens_of(triple.ranker))
    assert f"{EMBEDDING}: rows {count - 1} of {count} merged" in merge.plan.summary()


@pytest.mark.parametrize("role", ["domain", "base"])
def test_rows_in_another_order_are_merged_by_token_where_the_sizes_differ(triple, tmp_path, role):
    longer(triple.domain if role == "base" else triple.base, 3)
    swapped(getattr(triple, role), 20, 30)
    if role == "domain":
        longer(triple.domain, 400)
        longer(triple.domain, 401)
    assert_merged_by_token(triple, tmp_path)


def test_rows_of_a_head_follow_the_tokens_too(triple, tmp_path):
    longer(triple.domain, 10)
    ranker = triple.base  # a masked model as ranker: it has cls.predictions.bias, one number a token
    merge = Checkpoint(ranker) + ALPHA * TaskVector(triple.domain, triple.base)
    biases = {role: dict(zip(tokens_of(folder), raw(folder)["cls.predictions.bias"], strict=True))
              for role, folder in (("domain", triple.domain), ("base", triple.base))}
    expected = torch.stack([torch.add(value, biases["domain"][token] - value, alpha=ALPHA)
                            for token, value in biases["base"].items()])
    torch.testing.assert_close(merge.tensor("cls.predictions.bias"), expected, rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("role", ["ranker", "domain", "base"])
def test_rows_in_another_order_at_the_same_size_are_refused(triple, role):
    swapped(getattr(triple, role), 20, 30)
    with pytest.raises(CheckpointError, match="tokenizers of .* disagree in 2 rows: row 20 is"):
        make_plan(Checkpoint(triple.ranker), {"v": TaskVector(triple.domain, triple.base)})


def test_a_saved_vector_brings_its_vocabulary(triple, tmp_path):
    path = TaskVector(triple.domain, triple.base).save(tmp_path / "v.safetensors")
    swapped(triple.ranker, 20, 30)
    with pytest.raises(CheckpointError, match="disagree in 2 rows"):
        make_plan(Checkpoint(triple.ranker), {"v": TaskVector.load(path)})


def test_rows_of_different_number_without_tokenizer_are_refused(triple):
    longer(triple.domain, -1)
    for name in ("vocab.txt", "tokenizer.json"):
        (triple.base / name).unlink()
    with pytest.raises(CheckpointError, match=r"Θ_0 .* has no tokenizer to match them by"):
        make_plan(Checkpoint(triple.ranker), {"v": TaskVector(triple.domain, triple.base)})


def test_vectors_over_different_vocabularies_are_not_saved_as_one(triple, bert, tmp_path):
    longer(triple.domain, 10)
    longer(triple.base, 10)
    both = TaskVector(triple.domain, triple.base) + TaskVector(bert.triple.domain, bert.triple.base)
    with pytest.raises(MergeError, match="different vocabularies or shapes .*save them one by one"):
        both.save(tmp_path / "v.safetensors")
    count = len(tokens_of(triple.ranker))
    merge = Checkpoint(triple.ranker) + both  # adding them is no problem
    assert merge.tensor(EMBEDDING).shape[0] == count


def test_t5s_with_other_numbers_of_unused_rows_are_merged_in_the_rows_that_have_tokens(tmp_path):
    small, large = (t5_triple(tmp_path / str(extra), rows_extra=extra) for extra in (28, 40))
    ranker, tokens = Checkpoint(large.ranker), len(Checkpoint(large.ranker).vocabulary)
    merge = ranker + ALPHA * TaskVector(small.domain, small.base)
    ours = merge.tensor("shared.weight")
    own, domain, base = (parameters(folder)["shared.weight"] for folder in (large.ranker, small.domain, small.base))
    assert same_bits(ours[tokens:], own[tokens:])
    torch.testing.assert_close(ours[:tokens], own[:tokens] + ALPHA * (domain - base)[:tokens], rtol=2e-7, atol=1e-6)
    assert f"shared.weight: rows {tokens} of {len(own)} merged" in merge.plan.summary()


def test_a_vocabulary_size_in_the_config_is_no_architecture(triple):
    rewrite_config(triple.ranker, vocab_size=12345)
    assert make_plan(Checkpoint(triple.ranker), {"v": TaskVector(triple.domain, triple.base)}).merged
