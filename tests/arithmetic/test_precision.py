"""Θ' = Θ_T + α(Θ_D − Θ_0) to the last bit, of every tensor, in every dtype and layout."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pyterrier_taskarith.arithmetic import TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from tests.arithmetic.reference import ulps_from_float64
from tests.checkpoints.by_hand import copied, parameters, raw, rewrite, same_bits

ALPHAS = [1.0, 0.7, 0.1, -0.3, 1 / 3, 1.5]


def merge(case, alpha):
    return Checkpoint(case.triple.ranker) + alpha * TaskVector(case.triple.domain, case.triple.base)


def test_the_triples_have_something_to_merge_and_something_to_keep(case):
    assert set(case.tau) & set(case.ranker)
    assert all(float(case.tau[name].abs().max()) > 0 for name in case.tau)


def test_the_task_vector_is_domain_minus_base_in_float32(case):
    vector = TaskVector(case.triple.domain, case.triple.base)
    difference = vector.terms[0].difference
    assert set(difference.shapes) == set(case.tau)
    for name, expected in case.tau.items():
        assert difference.shapes[name] == tuple(expected.shape)
        assert same_bits(difference.tensor(name), expected)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_merge_is_one_torch_add_of_every_tensor(case, alpha):
    ours, expected = merge(case, alpha), case.merged(alpha)
    for name in case.ranker:
        assert same_bits(ours.tensor(name).float(), expected[name]), name
        if name not in case.tau:
            assert same_bits(ours.tensor(name), case.ranker[name])


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_merge_is_float64_arithmetic_within_one_unit_in_the_last_place(case, alpha):
    ours = merge(case, alpha)
    ulps = np.concatenate([
        ulps_from_float64(ours.tensor(name), case.ranker[name], case.domain[name], case.base[name], alpha).ravel()
        for name in set(case.tau) & set(case.ranker)])
    assert ulps.max() <= 1 and (ulps > 0).mean() < 0.03


def test_alpha_zero_is_the_ranker_in_memory_bit_for_bit(case):
    for alpha in (0, 0.0, -0.0):
        ours = merge(case, alpha)
        assert all(same_bits(ours.tensor(name), tensor) for name, tensor in case.ranker.items())


def test_alpha_zero_is_the_ranker_on_disk_bit_for_bit_buffers_and_strays_too(case, tmp_path):
    saved = raw(merge(case, 0).save(tmp_path / "saved"))
    stored = raw(case.triple.ranker)
    repeated = set(stored) - set(saved)
    assert repeated <= {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}
    assert all(torch.equal(stored[name], stored["shared.weight"]) for name in repeated)
    assert set(saved) <= set(stored) and all(same_bits(saved[name], stored[name]) for name in saved)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", None])
def test_a_saved_merge_is_rounded_once(case, tmp_path, dtype):
    alpha = 0.7
    saved = parameters(merge(case, alpha).save(tmp_path / "saved", dtype=dtype), tied_output=case.tied_output)
    expected = case.merged(alpha)
    assert set(saved) == set(expected)
    for name, tensor in expected.items():
        out = getattr(torch, dtype) if dtype else case.ranker[name].dtype
        assert same_bits(saved[name], tensor.to(out)), name


def test_a_negative_zero_of_the_ranker_stays_one_at_alpha_zero(bert, tmp_path):
    folder = copied(bert.triple.ranker, tmp_path / "zeros")

    def negative_zeros(tensors):
        tensors["encoder.layer.0.output.dense.bias"].fill_(-0.0)
        return tensors

    rewrite(folder, negative_zeros)
    ours = Checkpoint(folder) + 0 * TaskVector(bert.triple.domain, bert.triple.base)
    assert torch.signbit(ours.tensor("encoder.layer.0.output.dense.bias")).all()
    saved = raw(ours.save(tmp_path / "saved"))
    assert torch.signbit(saved["encoder.layer.0.output.dense.bias"]).all()


@pytest.mark.slow
def test_reading_a_merge_changes_nothing_that_is_read_later(case):
    first, vector = Checkpoint(case.triple.ranker), TaskVector(case.triple.domain, case.triple.base)
    before = {name: first.tensor(name).clone() for name in first.shapes}
    for alpha in (0.3, -2.0):
        for name in case.ranker:
            (first + alpha * vector + vector).tensor(name)
    assert all(same_bits(first.tensor(name), tensor) for name, tensor in before.items())
    assert all(same_bits(vector.terms[0].difference.tensor(name), tensor) for name, tensor in case.tau.items())


def test_float64_weights_are_merged_in_float32(bert, tmp_path):
    folders = {}
    for role in ("ranker", "domain", "base"):
        source = getattr(bert.triple, role)
        folders[role] = copied(source, tmp_path / role)
        save_file({name: tensor.double() + 1e-9 if tensor.is_floating_point() else tensor
                   for name, tensor in raw(source).items()}, folders[role] / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    ranker, domain, base = (raw(folders[role])[prefix + name].float()
                            for role, prefix in (("ranker", ""), ("domain", "bert."), ("base", "bert.")))
    ours = Checkpoint(folders["ranker"]) + 0.7 * TaskVector(folders["domain"], folders["base"])
    assert same_bits(ours.tensor(name), torch.add(ranker, domain - base, alpha=0.7))
