"""The algebra of task vectors, and their layers."""

import pickle

import numpy as np
import pytest
import torch

from pyterrier_taskarith.arithmetic import Layers, Merge, MergeError, TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from testing import bert_triple
from tests.arithmetic.modules import differing
from tests.arithmetic.reference import Case, read
from tests.checkpoints.by_hand import copied, rewrite, same_bits


def scales(vector: TaskVector) -> list[float]:
    return [term.scale for term in vector.terms]


def added(ranker, *terms) -> dict[str, torch.Tensor]:
    """T + α₁τ₁ + α₂τ₂ … from left to right."""
    result = {}
    for name, value in ranker.items():
        for alpha, tau in terms:
            value = torch.add(value, tau[name], alpha=alpha) if name in tau else value
        result[name] = value
    return result


def test_the_algebra_of_one_vector(bio):
    assert scales(0.7 * bio) == scales(bio * 0.7) == [0.7]
    assert scales(bio / 4) == [0.25] and scales(-bio) == [-1.0] and scales(-(2 * bio) / 4) == [-0.5]
    assert scales(3 * bio) == [3.0] and scales(bio - bio) == [1.0, -1.0]


@pytest.mark.parametrize("number", [np.float32(0.7), np.float64(0.7), np.float16(0.7), np.int64(2), np.int8(-1)])
def test_numpy_scalars_stand_on_either_side(bio, number):
    assert scales(number * bio) == scales(bio * number) == [float(number)]
    assert scales(bio / number) == [1 / float(number)]
    assert isinstance(number * bio, TaskVector)


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.float64("inf")])
def test_a_factor_that_is_not_finite_is_refused(bio, factor):
    with pytest.raises(MergeError, match="multiplied by"):
        factor * bio
    with pytest.raises(MergeError, match="multiplied by"):
        bio * factor
    with pytest.raises(MergeError, match="divided by"):
        bio / factor


@pytest.mark.parametrize("divisor", [0, 0.0, np.float32(0), 5e-324])
def test_a_division_without_finite_result_is_refused(bio, divisor):
    with pytest.raises(MergeError, match="divided by"):
        bio / divisor


def test_a_scale_that_overflows_is_refused(bio):
    with pytest.raises(MergeError, match="finite"):
        1e200 * (1e200 * bio)


@pytest.mark.parametrize("thing", ["0.5", None, [1.0], np.ones(2), 1j])
def test_other_things_are_no_factors_and_no_terms(bio, thing):
    for operation in (lambda: bio * thing, lambda: thing * bio, lambda: bio / thing, lambda: bio + thing,
                      lambda: thing + bio, lambda: bio - thing):
        with pytest.raises(TypeError):
            operation()


def test_a_sum_is_added_to_the_ranker_term_by_term_in_its_order(bert, toxic, bio, other):
    ranker = Checkpoint(bert.triple.ranker)
    expected = added(bert.ranker, (0.7, bert.tau), (-0.2, toxic.tau))
    assert not differing(read(ranker + (0.7 * bio - 0.2 * other), bert.ranker), expected)
    assert not differing(read(ranker + 0.7 * bio - 0.2 * other, bert.ranker), expected)
    backwards = added(bert.ranker, (-0.2, toxic.tau), (0.7, bert.tau))
    assert not differing(read(ranker + (-0.2 * other + 0.7 * bio), bert.ranker), backwards)
    assert differing(backwards, expected)


def test_a_factor_before_a_sum_scales_each_term(bert, toxic, bio, other):
    ours = Checkpoint(bert.triple.ranker) - 2 * (0.25 * bio - other / 8)
    assert not differing(read(ours, bert.ranker), added(bert.ranker, (-0.5, bert.tau), (0.25, toxic.tau)))


def test_adding_twice_is_a_merge_of_two_vectors(bert, bio, other):
    three = Checkpoint(bert.triple.ranker) + bio - other + bio
    assert len(three.vectors) == 3 and list(three.alphas.values()) == [1.0, 1.0, 1.0]
    named = Merge(Checkpoint(bert.triple.ranker), {"vector2": bio}, {"vector2": 0.5}) + other
    assert list(named.vectors.values()) == [bio, other] and list(named.alphas.values()) == [0.5, 1.0]


@pytest.mark.parametrize("alphas", [{}, {"a": float("nan")}, {"a": float("inf")}, {"b": 1.0}, {"a": 1.0, "b": 1.0}])
def test_a_merge_needs_one_finite_alpha_for_each_vector(bert, bio, alphas):
    with pytest.raises(MergeError, match="one α for each vector, a|a is (nan|inf): it must be a finite real number"):
        Merge(Checkpoint(bert.triple.ranker), {"a": bio}, alphas)


def test_vectors_are_equal_by_all_digits_of_their_scale(bio, other):
    assert 0.5 * bio == bio / 2 and hash(0.5 * bio) == hash(bio / 2)
    close = 0.1234567, 0.12345671
    assert close[0] * bio != close[1] * bio and str(close[0] * bio) != str(close[1] * bio)
    assert bio != other and bio != bio.layers("0") and bio + other != other + bio and bio != "bio"


def test_a_vector_is_written_as_its_recipe(bert, bio):
    recipe = f"({bert.triple.domain} − {bert.triple.base})"
    assert str(bio) == recipe and str(-0.25 * bio.layers("0-1")) == f"-0.25·{recipe}[0-1]"
    assert str(2 * bio - bio) == f"2·{recipe} − {recipe}" and repr(bio) == (
        f"TaskVector({str(bert.triple.domain)!r}, {str(bert.triple.base)!r})")


def test_the_representation_of_a_vector_evaluates(bert, bio, tmp_path):
    saved = TaskVector.load(bio.save(tmp_path / "tau.safetensors"))
    for vector in (bio, 0.1 * bio - 2 * bio.layers("0").without("embeddings"),
                   (bio + bio / 3).trim(0.2).dare(0.5, seed=3), -bio.breadcrumbs(0.3, outliers=0.01), bio.slerp(),
                   TaskVector.ties(bio, 0.5 * bio, density=0.2), saved):
        assert eval(repr(vector)) == vector


def test_a_pickled_vector_is_its_recipe(bert, bio):
    vector = 0.7 * bio.layers("0")
    again = pickle.loads(pickle.dumps(vector))
    assert again == vector and len(pickle.dumps(vector)) < 2000
    assert again.fingerprint == vector.fingerprint


def test_sum_adds_vectors(bio, other):
    assert sum([bio, other]) == bio + other and sum([bio]) == bio
    for wrong in (1, 0.0, False, None, "0"):
        with pytest.raises(TypeError):
            wrong + bio


def test_the_fingerprint_follows_weights_scale_and_layers(bert, bio, other, tmp_path):
    assert bio.fingerprint == TaskVector(bert.triple.domain, bert.triple.base).fingerprint
    assert len({str(vector.fingerprint) for vector in (bio, other, -bio, bio.layers("0"), bio + bio)}) == 5
    base = copied(bert.triple.base, tmp_path / "base")

    def one_weight(tensors):
        tensors["cls.predictions.bias"][0] += 1
        return tensors

    rewrite(base, one_weight)
    assert TaskVector(bert.triple.domain, base).fingerprint != bio.fingerprint


# --- layers


@pytest.mark.parametrize(("text", "inside", "outside"), [
    ("1", ["encoder.layer.1.a", "transformer.layer.1.a", "layers.1.a", "encoder.block.1.a", "decoder.block.1.a"],
     ["encoder.layer.10.a", "encoder.layer.11.a", "layers.21.a", "encoder.block.0.layer.1.a", "embeddings.a"]),
    ("0-5", ["encoder.layer.0.a", "encoder.layer.5.a"], ["encoder.layer.6.a", "encoder.layer.50.a", "pooler.a"]),
    ("decoder.0-1, 3", ["decoder.block.1.a", "decoder.block.3.a", "encoder.block.3.a"],
     ["encoder.block.0.a", "decoder.block.2.a", "decoder.final_layer_norm.weight"]),
    ("encoder.2", ["encoder.block.2.a", "encoder.layer.2.a"], ["decoder.block.2.a"]),
    ("embeddings,head", ["shared.weight", "embeddings.LayerNorm.bias", "cls.a", "lm_head.weight"],
     ["encoder.layer.0.a", "encoder.final_layer_norm.weight"]),
    ("other", ["encoder.final_layer_norm.weight", "norm.weight"], ["encoder.layer.0.a", "shared.weight"]),
])
def test_layers_are_matched_by_number(text, inside, outside):
    layers = Layers(text)
    assert all(name in layers for name in inside) and not any(name in layers for name in outside)


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "5-3", "0,,1", "layer.1", "encoder", "1.5", "embeddings.0"])
def test_what_is_no_layer_is_named(bio, text):
    with pytest.raises(MergeError, match="is not a layer; write '3', '0-5'"):
        bio.layers(text)


def test_layer_one_of_twelve_is_merged_and_ten_and_eleven_are_not(tmp_path):
    case = Case(bert_triple(tmp_path, layers=12, hidden=8), "bert.")
    merge = Checkpoint(case.triple.ranker) + 0.7 * TaskVector(case.triple.domain, case.triple.base).layers("1")
    for name, tensor in case.ranker.items():
        expected = case.merged(0.7)[name] if name.startswith("encoder.layer.1.") else tensor
        assert same_bits(merge.tensor(name), expected), name
    why = merge.plan.to_frame().set_index("name")["why"]
    assert (why[~why.index.str.startswith("encoder.layer.1.")] == "excluded: outside the layers asked for").all()


def test_layers_of_layers_are_both(bert, bio):
    merge = Checkpoint(bert.triple.ranker) + bio.layers("0,embeddings").layers("0-1")
    assert all(name.startswith("encoder.layer.0.") for name in merge.plan.merged) and merge.plan.merged


def test_a_sum_may_take_other_layers_of_each_vector(bert, toxic, bio, other):
    ours = Checkpoint(bert.triple.ranker) + (bio.layers("0") + 0.5 * other.layers("1,embeddings"))
    for name in bert.ranker:
        expected = bert.ranker[name]
        if name.startswith("encoder.layer.0."):
            expected = torch.add(expected, bert.tau[name], alpha=1.0)
        elif name.startswith(("encoder.layer.1.", "embeddings.")):
            expected = torch.add(expected, toxic.tau[name], alpha=0.5)
        assert same_bits(ours.tensor(name), expected), name
