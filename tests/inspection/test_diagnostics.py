"""Norms, cosines, conflicts and lost updates equal NumPy's, in float64 on whole tensors of the state dicts."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from pyterrier_taskarith.arithmetic import Merge, MergeError, TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.inspection import _diagnostics
from pyterrier_taskarith.inspection._diagnostics import diagnose
from testing import bert_triple, t5_triple
from tests.arithmetic.folders import copy_of, filled, reorder_tokens, tokens_of
from tests.arithmetic.reference import Case
from tests.checkpoints.by_hand import parameters, raw

EMBEDDING = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.1.attention.self.query.weight"
FIGURES = ["weights", "tau", "theta", "ratio", "learnt", "cosine", "conflicts", "zeros"]


def merge_of(triple, alpha: float = 0.7) -> Merge:
    return Merge(Checkpoint(triple.ranker), {"v": TaskVector(triple.domain, triple.base)}, {"v": alpha})


def wide(tensor: torch.Tensor) -> np.ndarray:
    return tensor.to(torch.float64).numpy()


def figures(theta, tau, learnt) -> dict[str, float]:
    """By the definitions, on whole float64 arrays."""
    product = np.sign(tau) * np.sign(learnt)
    both = np.count_nonzero(product)
    lengths = np.linalg.norm(tau) * np.linalg.norm(learnt)
    return {"weights": tau.size, "tau": np.linalg.norm(tau), "theta": np.linalg.norm(theta),
            "ratio": np.linalg.norm(tau) / np.linalg.norm(theta), "learnt": np.linalg.norm(learnt),
            "cosine": (tau * learnt).sum() / lengths if lengths else np.nan,
            "conflicts": np.count_nonzero(product == -1) / both if both else np.nan, "zeros": np.mean(tau == 0)}


def layer_by_hand(name: str) -> str:
    match = re.match(r"(?:(encoder|decoder)\.(?:layer|block)|transformer\.layer)\.(\d+)\.", name)
    if match:
        return f"{match[1]}.{match[2]}" if match[1] else match[2]
    if name.startswith(("embeddings.", "shared.")):
        return "embeddings"
    return "head" if name.startswith(("lm_head", "pooler", "cls")) else "other"


def arrays(case, name) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Θ_T, τ and Θ_T − Θ_0 of one parameter, flat."""
    ranker, domain, base = (wide(tensors[name]).ravel() for tensors in (case.ranker, case.domain, case.base))
    return ranker, domain - base, ranker - base


def assert_figures(row: pd.Series, expected: dict[str, float]) -> None:
    for column, value in expected.items():
        assert row[column] == pytest.approx(value, rel=1e-6, abs=1e-8, nan_ok=True), (row.name, column)


def test_figures_of_each_parameter_are_the_definitions(case):
    by_parameter, _ = diagnose(merge_of(case.triple))
    assert list(by_parameter["parameter"]) == [name for name in case.ranker if name in case.tau]
    for _, row in by_parameter.iterrows():
        assert_figures(row, figures(*arrays(case, row["parameter"])))


def test_figures_of_each_layer_are_over_its_parameters_as_one_vector(case):
    _, by_layer = diagnose(merge_of(case.triple))
    groups: dict[str, list[str]] = {}
    for name in case.ranker:
        if name in case.tau:
            groups.setdefault(layer_by_hand(name), []).append(name)
            groups.setdefault("all", []).append(name)
    assert sorted(by_layer["layer"]) == sorted(groups)
    assert by_layer["layer"].iloc[-1] == "all"
    for _, row in by_layer.iterrows():
        together = [np.concatenate(arrays_) for arrays_ in
                    zip(*(arrays(case, name) for name in groups[row["layer"]]), strict=True)]
        assert_figures(row, figures(*together))


def test_layers_stand_in_the_models_order(tmp_path):
    triple = t5_triple(tmp_path, layers=11)
    sides = [f"{side}.{number}" for side in ("encoder", "decoder") for number in range(11)]
    _, by_layer = diagnose(merge_of(triple))
    assert list(by_layer["layer"]) == ["embeddings", *sides, "other", "all"]
    for layer in by_layer["layer"].iloc[:-1]:
        assert TaskVector(triple.domain, triple.base).layers(layer)  # each label is one that layers= takes


def test_the_size_of_the_pieces_changes_nothing(made, monkeypatch):
    merge = merge_of(made("t5-sharded").triple)
    whole = diagnose(merge, dtype=torch.bfloat16)
    monkeypatch.setattr(_diagnostics, "PIECE", 101)
    for one, two in zip(whole, diagnose(merge, dtype=torch.bfloat16), strict=True):
        pd.testing.assert_frame_equal(one, two, rtol=1e-12)


def test_no_more_than_a_piece_is_ever_widened(bert, monkeypatch):
    monkeypatch.setattr(_diagnostics, "PIECE", 128)
    most, real = 0, torch.Tensor.double

    def double(self):
        nonlocal most
        most = max(most, self.numel())
        return real(self)

    monkeypatch.setattr(torch.Tensor, "double", double)
    diagnose(merge_of(bert.triple), dtype=torch.float16)
    assert 0 < most <= 128


def test_progress_counts_every_merged_weight_once(bert):
    counted = []
    by_parameter, _ = diagnose(merge_of(bert.triple), advance=counted.append)
    assert sum(counted) == by_parameter["weights"].sum() == sum(
        tensor.numel() for name, tensor in bert.ranker.items() if name in bert.tau)


# Rows matched by token


def longer(folder, place) -> None:
    tokens = tokens_of(folder)
    reorder_tokens(folder, [*tokens[:place], "<new>", *tokens[place:]])


@pytest.mark.parametrize("place", [5, 400])
@pytest.mark.parametrize("roles", [["ranker"], ["domain"], ["base"], ["domain", "base"], ["ranker", "domain"]])
def test_of_vocabularies_that_differ_only_rows_of_shared_tokens_count(bert, tmp_path, monkeypatch, roles, place):
    monkeypatch.setattr(_diagnostics, "PIECE", 1000)
    triple = copy_of(bert.triple, tmp_path)
    for role in roles:
        longer(getattr(triple, role), place)
    assert_by_token(triple)


def test_tokens_that_each_of_the_three_lacks_do_not_count(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(_diagnostics, "PIECE", 1000)
    triple = copy_of(bert.triple, tmp_path)
    for role, place, lacks in (("ranker", 300, 5), ("domain", 200, 2), ("base", 100, 1)):
        tokens = tokens_of(getattr(triple, role))
        reorder_tokens(getattr(triple, role), tokens[:place] + tokens[place + lacks:])
    assert_by_token(triple)


def assert_by_token(triple) -> None:
    """Asserts the embedding's figures, by hand from the rows of tokens that all three have."""
    rows = {}
    for role, prefix in (("ranker", ""), ("domain", "bert."), ("base", "bert.")):
        folder = getattr(triple, role)
        rows[role] = dict(zip(tokens_of(folder), wide(raw(folder)[prefix + EMBEDDING]), strict=True))
    shared = [token for token in rows["ranker"] if token in rows["domain"] and token in rows["base"]]
    assert len(shared) >= len(rows["ranker"]) - 3  # of about 400
    ranker, domain, base = (np.stack([rows[role][token] for token in shared]) for role in ("ranker", "domain", "base"))
    by_parameter, by_layer = diagnose(merge_of(triple))
    row = by_parameter.set_index("parameter").loc[EMBEDDING]
    assert_figures(row, figures(ranker, domain - base, ranker - base))
    assert by_layer.set_index("layer").loc["embeddings", "weights"] >= row["weights"]


def test_of_t5s_with_other_numbers_of_unused_rows_only_rows_with_tokens_count(tmp_path):
    small, large = (t5_triple(tmp_path / str(extra), rows_extra=extra) for extra in (28, 40))
    ranker = Checkpoint(large.ranker)
    count = len(ranker.vocabulary)
    by_parameter, _ = diagnose(ranker + 0.5 * TaskVector(small.domain, small.base))
    own, domain, base = (wide(parameters(folder)["shared.weight"])[:count]
                         for folder in (large.ranker, small.domain, small.base))
    row = by_parameter.set_index("parameter").loc["shared.weight"]
    assert_figures(row, figures(own, 0.5 * (domain - base), own - base))


# Several vectors, sums, edits


def test_pairs_of_vectors_have_their_own_cosines_and_conflicts(bert, toxic, bio, other):
    merge = Merge(Checkpoint(bert.triple.ranker), {"bio": bio, "toxic": other}, {"bio": 0.5, "toxic": -0.2})
    by_parameter, by_layer = diagnose(merge)
    assert list(by_layer["vector"].iloc[-2:]) == ["bio", "toxic"]
    for name, frame in by_parameter.groupby("parameter", sort=False):
        rows = frame.set_index("vector")
        _, first, learnt = arrays(bert, name)
        second = wide(toxic.tau[name]).ravel()
        pair = figures(wide(bert.ranker[name]).ravel(), first, second)
        for one, two in (("bio", "toxic"), ("toxic", "bio")):
            assert rows.loc[one, f"cosine.{two}"] == pytest.approx(pair["cosine"], rel=1e-6, abs=1e-9)
            assert rows.loc[one, f"conflicts.{two}"] == pytest.approx(pair["conflicts"])
            assert np.isnan(rows.loc[one, f"cosine.{one}"])
        assert_figures(rows.loc["bio"], figures(wide(bert.ranker[name]).ravel(), first, learnt))
        # The second vector departs from a Θ_0 of its own.
        theirs = wide(bert.ranker[name]).ravel() - wide(toxic.base[name]).ravel()
        assert_figures(rows.loc["toxic"], figures(wide(bert.ranker[name]).ravel(), second, theirs))


def test_vectors_over_different_tokens_are_compared_in_the_rows_that_both_have(bert, toxic, bio, tmp_path):
    triple = copy_of(toxic.triple, tmp_path)
    for folder in (triple.domain, triple.base):
        tokens = tokens_of(folder)
        reorder_tokens(folder, tokens[:100] + tokens[103:])
    merge = Merge(Checkpoint(bert.triple.ranker), {"a": bio, "b": TaskVector(triple.domain, triple.base)},
                  {"a": 1, "b": 1})
    rows = diagnose(merge)[0].set_index(["parameter", "vector"]).loc[EMBEDDING]
    first = np.delete(wide(bert.tau[EMBEDDING]), [100, 101, 102], axis=0)
    second = wide(raw(triple.domain)["bert." + EMBEDDING]) - wide(raw(triple.base)["bert." + EMBEDDING])
    expected = figures(first, first, second)
    assert rows.loc["b", "weights"] == second.size < rows.loc["a", "weights"]
    for one, two in (("a", "b"), ("b", "a")):
        assert rows.loc[one, f"cosine.{two}"] == pytest.approx(expected["cosine"], rel=1e-6)
        assert rows.loc[one, f"conflicts.{two}"] == pytest.approx(expected["conflicts"])


def test_a_sum_over_different_tokens_counts_the_rows_that_any_of_its_terms_has(bert, toxic, tmp_path):
    lacking = {"a": [100, 101, 102], "b": [101, 102, 103, 104]}
    terms, taus = [], []
    for (name, rows), case in zip(lacking.items(), (bert, toxic), strict=True):
        triple = copy_of(case.triple, tmp_path / name)
        for folder in (triple.domain, triple.base):
            reorder_tokens(folder, [token for row, token in enumerate(tokens_of(folder)) if row not in rows])
        terms.append(TaskVector(triple.domain, triple.base))
        taus.append(wide(case.tau[EMBEDDING]).copy())
        taus[-1][rows] = 0
    row = diagnose(Checkpoint(bert.triple.ranker) + (terms[0] - 2 * terms[1]))[0].set_index("parameter").loc[EMBEDDING]
    theta, tau = (np.delete(array, [101, 102], axis=0) for array in (wide(bert.ranker[EMBEDDING]),
                                                                      taus[0] - 2 * taus[1]))
    expected = figures(theta, tau, tau)
    assert_figures(row, {column: expected[column] for column in ("weights", "tau", "theta", "ratio", "zeros")})


def test_vectors_that_share_no_layer_have_no_cosine(bert, bio, other):
    merge = Merge(Checkpoint(bert.triple.ranker), {"a": bio.layers("0"), "b": other.layers("1")}, {"a": 1, "b": 1})
    by_parameter, by_layer = diagnose(merge)
    assert by_layer[["cosine.a", "cosine.b", "conflicts.a", "conflicts.b"]].isna().all(axis=None)
    assert by_layer[["layer", "vector"]].to_numpy().tolist() == [["encoder.0", "a"], ["encoder.1", "b"], ["all", "a"],
                                                                ["all", "b"]]
    assert set(by_parameter["parameter"]) == {name for name in bert.ranker if re.match(r"encoder\.layer\.[01]\.", name)}


def test_a_sum_over_one_base_is_one_vector(bert, bio):
    merge = Checkpoint(bert.triple.ranker) + (2 * bio.layers("1") - 0.5 * bio)
    row = diagnose(merge)[0].set_index("parameter").loc[QUERY]
    theta, tau, learnt = arrays(bert, QUERY)
    assert_figures(row, figures(theta, 1.5 * tau, learnt))


def test_a_sum_over_two_bases_and_a_saved_vector_have_nothing_to_compare_the_rankers_change_with(
        bert, bio, other, tmp_path):
    for vector in (bio + other, TaskVector.load(bio.save(tmp_path / "v.safetensors"))):
        by_parameter, by_layer = diagnose(Checkpoint(bert.triple.ranker) + vector)
        for frame in (by_parameter, by_layer):
            assert frame[["learnt", "cosine", "conflicts"]].isna().all(axis=None)
        assert (by_parameter["tau"] > 0).all()


def test_an_edited_vector_is_measured_as_it_is_added(bert, bio):
    row = diagnose(Checkpoint(bert.triple.ranker) + bio.trim(0.25))[0].set_index("parameter").loc[QUERY]
    theta, tau, learnt = arrays(bert, QUERY)
    kept = np.where(np.abs(tau) >= np.sort(np.abs(tau))[-tau.size // 4], tau, 0)
    assert np.count_nonzero(kept) == tau.size // 4
    assert_figures(row, figures(theta, kept, learnt))


def test_alphas_by_layer_stand_beside_their_layers(bert, bio):
    merge = Merge(Checkpoint(bert.triple.ranker), {"v": bio}, {"v": {"default": 0.5, "embeddings": 0}})
    by_parameter, by_layer = diagnose(merge)
    alphas = by_layer.set_index("layer")["alpha"]
    assert alphas[["embeddings", "encoder.0", "encoder.1"]].tolist() == [0, 0.5, 0.5] and np.isnan(alphas["all"])
    assert (by_parameter["alpha"] == np.where(by_parameter["layer"] == "embeddings", 0, 0.5)).all()


# Rounding


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of float32's bits, rounded to nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    return (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


ROUNDED = {torch.bfloat16: bfloat16, torch.float16: lambda values: values.astype(np.float16)}


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("alpha", [0.01, -0.3])
def test_lost_is_the_share_of_changed_weights_that_rounding_takes_back(made, dtype, alpha):
    case = made("demo")
    by_parameter, by_layer = diagnose(merge_of(case.triple, alpha), dtype=dtype)
    lost = changed = 0
    for _, row in by_parameter.iterrows():
        theta, tau, _ = arrays(case, row["parameter"])
        same = ROUNDED[dtype](theta) == ROUNDED[dtype](theta + alpha * tau)
        # One weight may lie on the border between two roundings.
        assert row["lost"] * np.count_nonzero(tau) == pytest.approx(np.count_nonzero(same[tau != 0]), abs=1.01)
        lost, changed = lost + np.count_nonzero(same[tau != 0]), changed + np.count_nonzero(tau)
    assert by_layer["lost"].iloc[-1] == pytest.approx(lost / changed, abs=1e-5)
    assert 0 < by_layer["lost"].iloc[-1] < 1


def test_two_vectors_lose_what_their_sum_loses(bert, toxic, bio, other):
    merge = Merge(Checkpoint(bert.triple.ranker), {"a": bio, "b": other}, {"a": 0.01, "b": -0.02})
    rows = diagnose(merge, dtype=torch.bfloat16)[0].set_index(["parameter", "vector"]).loc[QUERY]
    theta, tau, _ = arrays(bert, QUERY)
    change = 0.01 * tau - 0.02 * wide(toxic.tau[QUERY]).ravel()
    expected = np.mean(bfloat16(theta) == bfloat16(theta + change))
    assert rows["lost"].tolist() == pytest.approx([expected] * 2, abs=1 / tau.size)


def test_on_a_sphere_lost_is_what_the_merge_itself_gives(bert):
    towards = TaskVector(bert.triple.domain, bert.triple.ranker)
    merge = Merge(Checkpoint(bert.triple.ranker), {"v": towards.slerp()}, {"v": 0.003})
    row = diagnose(merge, dtype=torch.bfloat16)[0].set_index("parameter").loc[EMBEDDING]
    theta, there = wide(bert.ranker[EMBEDDING]), wide(bert.domain[EMBEDDING])
    angle = np.arccos((theta * there).sum() / np.linalg.norm(theta) / np.linalg.norm(there))
    moved = (np.sin(0.997 * angle) * theta + np.sin(0.003 * angle) * there) / np.sin(angle)
    straight = theta + 0.003 * (there - theta)
    expected, other = (np.mean(bfloat16(theta) == bfloat16(values)) for values in (moved, straight))
    assert row["lost"] == pytest.approx(expected, abs=2 / theta.size)
    assert abs(expected - other) > 4 / theta.size  # the straight line would be told from the circle
    assert row["learnt"] == 0 and np.isnan(row["cosine"])


def test_what_is_written_in_32_bits_or_not_changed_loses_nothing_that_is_counted(bert):
    assert diagnose(merge_of(bert.triple))[0]["lost"].isna().all()
    assert diagnose(merge_of(bert.triple), dtype=torch.float32)[0]["lost"].isna().all()
    assert diagnose(merge_of(bert.triple, 0.0), dtype=torch.bfloat16)[0]["lost"].isna().all()


def test_without_a_dtype_it_is_the_rankers_own(made):
    case = made("bert-bfloat16")
    ours, given = (diagnose(merge_of(case.triple, 0.01), dtype=dtype)[0] for dtype in (None, torch.bfloat16))
    pd.testing.assert_frame_equal(ours, given)
    assert (ours["lost"] > 0).any()


def test_weights_too_large_for_float16_are_counted(bert, tmp_path):
    triple = copy_of(bert.triple, tmp_path)
    filled(triple.ranker, QUERY, 1e6, 3)
    rows = diagnose(merge_of(triple), dtype=torch.float16)[0].set_index("parameter")["overflow"]
    assert rows[QUERY] == 3 and rows.sum() == 3


# Zeros and damage


def test_a_layer_that_the_domain_left_alone_is_all_zeros(tmp_path, bert):
    triple = copy_of(bert.triple, tmp_path)
    for folder in (triple.domain, triple.base):
        filled(folder, QUERY, 0.25, bert.base[QUERY].numel())
    row = diagnose(merge_of(triple))[0].set_index("parameter").loc[QUERY]
    assert row["tau"] == 0 and row["zeros"] == 1 and row["ratio"] == 0
    assert np.isnan(row["cosine"]) and np.isnan(row["conflicts"])


@pytest.mark.parametrize("role, symbol", [("ranker", "Θ_T"), ("domain", "Θ_D"), ("base", "Θ_0")])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_named(tmp_path, bert, role, symbol, value):
    triple = copy_of(bert.triple, tmp_path)
    filled(getattr(triple, role), QUERY, value, 2)
    with pytest.raises(MergeError, match=f"{symbol} '.*{role}': {QUERY} holds 2 values that are NaN or infinite"):
        diagnose(merge_of(triple))


def test_a_case_with_a_head_that_all_have_counts_it_as_head(tmp_path):
    case = Case(bert_triple(tmp_path, pooler_in=("base", "domain", "ranker")), "bert.")
    _, by_layer = diagnose(merge_of(case.triple))
    head = by_layer.set_index("layer").loc["head"]
    assert head["weights"] == case.ranker["pooler.dense.weight"].numel() + case.ranker["pooler.dense.bias"].numel()
