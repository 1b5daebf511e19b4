"""α by layers: every parameter gets the number that its layer's name states."""

import numpy as np
import pytest
import torch

from pyterrier_taskarith.arithmetic import (
    LayerAlphas,
    LoadedWeights,
    Merge,
    MergeError,
    WeightSetting,
    as_alpha,
    make_plan,
)
from pyterrier_taskarith.arithmetic._alphas import Layers, layers_in_words
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.families import layer_of
from tests.arithmetic.modules import differing, module_of, weights_of
from tests.checkpoints.by_hand import same_bits

WRITTEN = {"default": 0.7, "layers 1": 1.0, "embeddings": 0}


def number(name: str) -> float:
    """The number of WRITTEN, by hand."""
    if name.startswith("embeddings."):
        return 0.0
    return 1.0 if ".layer.1." in name else 0.7


def by_hand(case) -> dict[str, torch.Tensor]:
    return {name: torch.add(value, case.tau[name], alpha=number(name)) if name in case.tau and number(name) else value
            for name, value in case.ranker.items()}


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_each_layer_has_its_own_alpha_in_files_and_in_the_living_module(bert, bio, where):
    expected = by_hand(bert)
    merge = Merge(Checkpoint(bert.triple.ranker), {"v": bio}, {"v": WRITTEN})
    assert all(same_bits(merge.tensor(name), value) for name, value in expected.items())
    weights = LoadedWeights(module_of(bert.triple.ranker), make_plan(merge.ranker, {"v": bio}), where)
    for _ in range(2):
        weights.set(WeightSetting("merged", (("v", as_alpha(WRITTEN)),)))
        assert not differing(weights_of(weights.module), expected)
        weights.set(WeightSetting("merged", (("v", 0.7),)))
        assert not differing(weights_of(weights.module), bert.merged(0.7))
    assert weights.switches == 4


def test_only_and_without_a_layer_part_the_parameters_by_number_not_by_substring(bio):
    names = [f"encoder.layer.{number}.output.dense.weight" for number in range(12)] + ["embeddings.LayerNorm.bias"]
    only, rest = bio.layers("1").terms[0], bio.without("1").terms[0]
    assert [name for name in names if only.selects(name)] == ["encoder.layer.1.output.dense.weight"]
    assert [name for name in names if not rest.selects(name)] == ["encoder.layer.1.output.dense.weight"]


def test_only_plus_without_is_the_whole_merge(bert, bio):
    for name, value in bert.merged(0.7).items():
        side, layer = layer_of(name)
        ranker = Checkpoint(bert.triple.ranker)
        inside = (ranker + 0.7 * bio.layers("1")).tensor(name)
        outside = (ranker + 0.7 * bio.without("1")).tensor(name)
        assert same_bits(inside if layer == 1 else outside, value)
        assert same_bits(outside if layer == 1 else inside, bert.ranker[name])


@pytest.mark.parametrize(("names", "words"), [
    (["encoder.layer.0.a", "encoder.layer.1.a", "encoder.layer.3.a", "embeddings.w", "pooler.w"],
     "embeddings, encoder.0-1, encoder.3, head"),
    (["layers.0.a", "layers.1.a", "layers.2.b", "norm.weight"], "0-2, other"),
    (["encoder.block.0.a", "decoder.block.0.a", "decoder.block.1.a", "shared.weight"],
     "decoder.0-1, embeddings, encoder.0"),
])
def test_the_layers_of_parameters_are_written_as_they_are_read(names, words):
    assert layers_in_words(names) == words
    assert all(any(name in Layers(part) for part in words.split(", ")) for name in names)
    assert all(any(name in Layers(part) for name in names) for part in words.split(", "))


def test_what_is_written_comes_back():
    alpha = as_alpha(WRITTEN)
    assert isinstance(alpha, LayerAlphas) and alpha.to_dict() == WRITTEN
    assert as_alpha(np.float32(0.5)) == 0.5 and type(as_alpha(np.float32(0.5))) is float
    assert as_alpha({"default": 0.5}) == 0.5
    assert as_alpha(alpha) is alpha and hash(alpha) == hash(as_alpha(WRITTEN))


def test_zero_in_every_layer_is_the_ranker():
    zero = WeightSetting("merged", (("v", as_alpha({"default": 0, "0": 0.0})),))
    assert zero.normal == WeightSetting("ranker").normal
    other = WeightSetting("merged", (("v", as_alpha({"default": 0, "0": 0.1})),))
    assert other.normal != WeightSetting("ranker").normal


@pytest.mark.parametrize(("alpha", "message"), [
    ({"layers 0": 1.0}, "give the α of all other layers too, as 'default'"),
    ({"default": 0.5, "layers 0": float("nan")}, "'layers 0', is nan: it must be a finite real number"),
    ({"default": 0.5, "middle": 1}, "'middle' is not a layer"),
    ({"default": 0.5, "0-1": 1, "layers 1": 0.3}, "names .* twice: in '0-1' and in 'layers 1'"),
    ({"default": 0.5, "layers 7": 1}, "'layers 7': 1}} selects no parameter that is merged; these layers are: "),
    ({"default": 0.5, "layers 0,7": 1}, "'layers 0,7': 1}} selects no parameter that is merged in '7'; these layers"),
    (True, "is True: it must be a finite real number"),
])
def test_what_cannot_be_meant_is_refused_by_name(bert, bio, alpha, message):
    with pytest.raises(MergeError, match=message.replace("}}", "}").replace("{", r"\{").replace("}", r"\}")):
        _ = Merge(Checkpoint(bert.triple.ranker), {"v": bio}, {"v": alpha}).plan


def test_a_living_module_refuses_layers_it_does_not_have(bert, bio):
    plan = make_plan(Checkpoint(bert.triple.ranker), {"v": bio})
    weights = LoadedWeights(module_of(bert.triple.ranker), plan, "memory")
    with pytest.raises(MergeError, match="selects no parameter"):
        weights.set(WeightSetting("merged", (("v", as_alpha({"default": 0.5, "layers 7": 1})),)))
    weights.set(WeightSetting("merged", (("v", 0.7),)))
    assert not differing(weights_of(weights.module), bert.merged(0.7))
