"""The weights of a living module: set in place, always from pristine weights, in memory or streamed."""

import copy
import os

import numpy as np
import pytest
import torch

from pyterrier_taskarith.arithmetic import LoadedWeights, MergeError, TaskVector, WeightSetting, make_plan
from pyterrier_taskarith.checkpoints import Checkpoint
from tests.arithmetic.modules import differing, module_of, weights_of
from tests.checkpoints.by_hand import same_bits

WHERE = ["memory", "disk"]


def merged(alpha: float, name: str = "v") -> WeightSetting:
    return WeightSetting("merged", ((name, alpha),))


def live(case, where, *, dtype=torch.float32, vectors=None) -> LoadedWeights:
    vectors = vectors or {"v": TaskVector(case.triple.domain, case.triple.base)}
    plan = make_plan(Checkpoint(case.triple.ranker), vectors)
    return LoadedWeights(module_of(case.triple.ranker, dtype), plan, where)


@pytest.mark.parametrize("where", WHERE)
def test_every_setting_is_the_files_or_one_torch_add_bit_for_bit(case, where):
    weights = live(case, where)
    module = weights.module
    names = set(weights_of(module))
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    assert names == set(case.ranker)
    expected = {
        WeightSetting("ranker"): {name: tensor.float() for name, tensor in case.ranker.items()},
        WeightSetting("base"): {name: case.base.get(name, case.ranker[name]).float() for name in names},
        WeightSetting("domain"): {name: case.domain.get(name, case.ranker[name]).float() for name in names},
        merged(0): {name: tensor.float() for name, tensor in case.ranker.items()},
        **{merged(alpha): case.merged(alpha) for alpha in (1.0, 0.7, -0.3)},
    }
    for _ in range(2):
        for setting, tensors in expected.items():
            weights.set(setting)
            assert not differing(weights_of(module), tensors), setting
    assert all(same_bits(buffer, buffers[name]) for name, buffer in module.named_buffers())


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", ["demo", "bert", "t5-bin"])
@pytest.mark.slow
def test_fifty_changes_back_and_forth_end_bit_identical_to_a_fresh_merge(made, name, where):
    case = made(name)
    weights = live(case, where)
    alphas = np.random.default_rng(3).uniform(-1, 1.5, size=49).round(3).tolist()
    for place, alpha in enumerate(alphas):
        weights.set(merged(alpha))
        if place % 10 == 0:
            weights.set(WeightSetting(("base", "domain")[place % 20 == 0]))
    weights.set(merged(0.7))
    assert weights.switches == 55
    assert not differing(weights_of(weights.module), case.merged(0.7))
    weights.set(merged(0))
    assert not differing(weights_of(weights.module), {name: t.float() for name, t in case.ranker.items()})


def test_memory_and_stream_agree_bit_for_bit_in_half_precision_too(bert):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        both = [live(bert, where, dtype=dtype) for where in WHERE]
        for setting in (merged(0.7), WeightSetting("base"), merged(-1 / 3), WeightSetting("ranker"),
                        WeightSetting("domain")):
            for weights in both:
                weights.set(setting)
            first, second = (weights_of(weights.module) for weights in both)
            assert all(tensor.dtype == dtype for tensor in first.values()) and not differing(first, second)


def test_half_precision_weights_are_rounded_once_from_float32(bert):
    weights = live(bert, "memory", dtype=torch.bfloat16)
    weights.set(merged(0.7))
    assert not differing(weights_of(weights.module), {name: t.bfloat16() for name, t in bert.merged(0.7).items()})


@pytest.mark.parametrize("where", WHERE)
def test_several_vectors_are_added_in_the_order_given(bert, toxic, where):
    vectors = {"bio": TaskVector(bert.triple.domain, bert.triple.base),
               "toxic": TaskVector(toxic.triple.domain, toxic.triple.base)}
    weights = live(bert, where, vectors=vectors)
    for bio, other in ((0.7, -0.2), (0, 0.5), (0.3, 0.0), (-1.0, 1.0)):
        weights.set(WeightSetting("merged", (("bio", bio), ("toxic", other))))
        expected = {}
        for name, tensor in bert.ranker.items():
            value = tensor
            for alpha, tau in ((bio, bert.tau), (other, toxic.tau)):
                value = torch.add(value, tau[name], alpha=alpha) if name in tau and alpha else value
            expected[name] = value
        assert not differing(weights_of(weights.module), expected)
    for variant, tensors in (("base.bio", bert.base), ("domain.bio", bert.domain), ("base.toxic", toxic.base),
                             ("domain.toxic", toxic.domain)):
        weights.set(WeightSetting(variant))
        assert not differing(weights_of(weights.module), {n: tensors.get(n, bert.ranker[n]) for n in bert.ranker})


def test_the_scale_of_a_vector_multiplies_alpha(bert):
    weights = live(bert, "memory", vectors={"v": -0.5 * TaskVector(bert.triple.domain, bert.triple.base)})
    weights.set(merged(0.6))
    assert not differing(weights_of(weights.module), bert.merged(-0.3))


@pytest.mark.parametrize("where", WHERE)
def test_switches_are_counted_and_an_unchanged_setting_changes_nothing(bert, where, monkeypatch):
    weights = live(bert, where)
    assert weights.switches == 0 and weights.current is None
    weights.set(merged(0.5))
    weights.set(WeightSetting("base"))
    weights.set(merged(0.5))
    assert weights.switches == 3

    def nothing(*_):
        raise AssertionError("weights were touched")

    monkeypatch.setattr(weights, "_set_merged", nothing)
    monkeypatch.setattr(weights, "_set_checkpoint", nothing)
    weights.set(merged(0.5))
    weights.set(WeightSetting("merged", (("v", 0.5),)))
    assert weights.switches == 3


def test_alpha_zero_merged_is_the_rankers_setting(bert):
    assert merged(0).normal == merged(-0.0).normal == WeightSetting("ranker").normal == WeightSetting().normal
    assert WeightSetting("merged", (("a", 0), ("b", 1.0))).normal == WeightSetting("merged", (("b", 1.0),)).normal
    assert merged(1.0).normal != WeightSetting("ranker").normal != WeightSetting("base").normal
    weights = live(bert, "memory")
    weights.set(WeightSetting("ranker"))
    weights.set(merged(0))
    weights.set(merged(0.0))
    assert weights.switches == 1


def test_a_module_whose_weights_lie_in_the_mapped_file_does_not_spoil_later_reads(bert):
    checkpoint = Checkpoint(bert.triple.ranker)
    module = module_of(bert.triple.ranker)
    for name, parameter in module.named_parameters():
        parameter.data = checkpoint.tensor(name)
    plan = make_plan(checkpoint, {"v": TaskVector(bert.triple.domain, bert.triple.base)})
    weights = LoadedWeights(module, plan, "disk")
    for alpha in (0.5, 1.0, -0.3, 0.7):
        weights.set(merged(alpha))
        assert not differing(weights_of(module), bert.merged(alpha))


def test_a_head_models_names_are_understood(bert):
    from transformers import AutoModelForMaskedLM

    module = AutoModelForMaskedLM.from_pretrained(bert.triple.base, dtype=torch.float32).eval()
    plan = make_plan(Checkpoint(bert.triple.base), {"v": TaskVector(bert.triple.domain, bert.triple.base)})
    weights = LoadedWeights(module, plan, "memory")
    weights.set(merged(1.0))
    ours = {name.removeprefix("bert."): tensor for name, tensor in weights_of(module).items()}
    expected = {name: torch.add(tensor, bert.tau[name], alpha=1.0) for name, tensor in bert.base.items()}
    assert set(ours) == set(expected) and not differing(ours, expected)
    assert torch.equal(module.cls.predictions.decoder.weight, module.bert.embeddings.word_embeddings.weight)


@pytest.mark.parametrize("where", WHERE)
def test_a_failed_change_is_not_taken_for_done(bert, where, monkeypatch):
    weights = live(bert, where)
    weights.set(merged(0.5))
    true, calls = os.preadv, []

    def failing(*given):
        calls.append(given)
        if len(calls) == 5:
            raise OSError("disk gone")
        return true(*given)

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(OSError, match="disk gone"):
        weights.set(WeightSetting("domain"))
    monkeypatch.setattr(os, "preadv", true)
    assert weights.current is None and weights.switches == 1
    weights.set(merged(0.5))
    assert not differing(weights_of(weights.module), bert.merged(0.5))


def test_what_a_variant_lacks_stays_the_rankers_and_is_said(bert, caplog):
    weights = live(bert, "memory")
    weights.set(WeightSetting("base"))
    assert "Θ_0" in caplog.text and "pooler.dense.weight" in caplog.text and "encoder" not in caplog.text
    assert torch.equal(weights.module.pooler.dense.weight, bert.ranker["pooler.dense.weight"])


def test_a_vector_that_is_no_plain_difference_has_no_domain_model(bert, toxic):
    both = TaskVector(bert.triple.domain, bert.triple.base) + TaskVector(toxic.triple.domain, toxic.triple.base)
    weights = live(bert, "disk", vectors={"v": both})
    with pytest.raises(MergeError, match="'v' is not a plain Θ_D − Θ_0, so there is no domain model"):
        weights.set(WeightSetting("domain"))


@pytest.mark.parametrize("setting", [merged(float("nan")), merged(float("inf")), merged(0.5, "other")])
def test_an_alpha_that_is_not_finite_or_of_no_vector_is_refused(bert, setting):
    weights = live(bert, "disk")
    before = weights_of(weights.module)
    with pytest.raises(MergeError, match="must be a finite real number|but the vectors are v"):
        weights.set(setting)
    assert not differing(weights_of(weights.module), before)


def test_a_module_with_parameters_that_the_ranker_lacks_is_refused(bert):
    plan = make_plan(Checkpoint(bert.triple.ranker), {"v": TaskVector(bert.triple.domain, bert.triple.base)})
    module = copy.deepcopy(module_of(bert.triple.ranker))
    module.add_module("extra", torch.nn.Linear(2, 2))
    with pytest.raises(MergeError, match=r"lacks 2 parameters of BertModel: extra\.weight, extra\.bias"):
        LoadedWeights(module, plan, "disk")


def test_a_module_of_another_shape_is_refused(bert):
    plan = make_plan(Checkpoint(bert.triple.ranker), {"v": TaskVector(bert.triple.domain, bert.triple.base)})
    module = module_of(bert.triple.ranker)
    module.embeddings.LayerNorm.weight = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(MergeError, match=r"disagree in shape.*embeddings\.LayerNorm\.weight \[3\] and \[32\]"):
        LoadedWeights(module, plan, "disk")
