"""Merge methods against plain NumPy: TIES, trimming, DARE, Breadcrumbs, interpolation."""

import numpy as np
import pytest
import torch

from pyterrier_taskarith.arithmetic import LoadedWeights, Merge, MergeError, TaskVector, WeightSetting, make_plan
from pyterrier_taskarith.arithmetic.methods import Breadcrumbs, Dare, Trim
from pyterrier_taskarith.checkpoints import Checkpoint
from tests.arithmetic.modules import differing, module_of, weights_of
from tests.checkpoints.by_hand import same_bits

NAME = "encoder.layer.0.output.dense.weight"


def ranked(values: np.ndarray) -> np.ndarray:
    """Positions by magnitude, largest first; of equal ones, the first first."""
    return np.argsort(-np.abs(values.reshape(-1)), kind="stable")


def kept(values: np.ndarray, first: int, last: int) -> np.ndarray:
    out = np.zeros(values.size, dtype=values.dtype)
    positions = ranked(values)[first:last]
    out[positions] = values.reshape(-1)[positions]
    return out.reshape(values.shape)


def tensor(shape=(37, 11), seed=0) -> torch.Tensor:
    made = torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
    return made.round(decimals=1)  # many equal magnitudes


@pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 0.999, 1.0])
def test_trim_keeps_exactly_the_largest_share(density):
    values = tensor()
    expected = kept(values.numpy().copy(), 0, max(1, int(density * values.numel())))
    assert np.array_equal(Trim(density).apply(values, NAME).numpy(), expected)


@pytest.mark.parametrize(("density", "outliers"), [(0.5, 0.1), (0.9, 0.0), (0.3, 0.7), (1.0, 0.0)])
def test_breadcrumbs_drops_the_largest_and_the_smallest(density, outliers):
    values = tensor(seed=1)
    first = int(outliers * values.numel())
    expected = kept(values.numpy().copy(), first, first + int(density * values.numel()))
    assert np.array_equal(Breadcrumbs(density, outliers).apply(values, NAME).numpy(), expected)


def test_dare_drops_at_random_and_keeps_the_mean():
    values = torch.ones(400, 500)
    thinned = Dare(0.25, seed=3).apply(values.clone(), NAME)
    assert set(thinned.unique().tolist()) == {0.0, 4.0}
    assert thinned.mean() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(thinned, Dare(0.25, seed=3).apply(values.clone(), NAME))
    assert not torch.equal(thinned, Dare(0.25, seed=4).apply(values.clone(), NAME))
    assert not torch.equal(thinned, Dare(0.25, seed=3).apply(values.clone(), "encoder.layer.1.output.dense.weight"))


def ties_by_hand(vectors: list[np.ndarray], density: float) -> np.ndarray:
    """The paper's three steps, value by value."""
    trimmed = [kept(vector, 0, int(density * vector.size)).reshape(-1) for vector in vectors]
    merged = np.zeros(vectors[0].size, dtype=np.float64)
    for place, values in enumerate(zip(*trimmed, strict=True)):
        positive = sum(value for value in values if value > 0) >= -sum(value for value in values if value < 0)
        agreeing = [value for value in values if (value > 0 if positive else value < 0)]
        merged[place] = np.mean(agreeing, dtype=np.float64) if agreeing else 0.0
    return merged.reshape(vectors[0].shape)


def test_ties_elects_a_sign_and_averages_those_that_agree(bert, bio, other, toxic):
    merged = TaskVector.ties(bio, 0.5 * other, density=0.3)
    for name in (NAME, "embeddings.word_embeddings.weight", "encoder.layer.1.attention.self.query.bias"):
        expected = ties_by_hand([bert.tau[name].numpy(), (toxic.tau[name] * 0.5).numpy()], 0.3)
        assert merged.terms[0].tensor(name).numpy() == pytest.approx(expected, abs=1e-6)
    merge = Checkpoint(bert.triple.ranker) + 0.4 * merged
    tau = merged.terms[0].tensor(NAME)
    assert same_bits(merge.tensor(NAME), torch.add(bert.ranker[NAME], tau, alpha=0.4))
    assert "2 of" not in merge.plan.summary() and NAME in merge.plan.merged


def test_edits_are_made_before_the_scale_and_shown(bert, bio):
    vector = -0.5 * bio.trim(0.2).dare(0.5, seed=9)
    expected = Dare(0.5, 9).apply(Trim(0.2).apply(bert.tau[NAME].clone(), NAME), NAME)
    merge = Checkpoint(bert.triple.ranker) + vector
    assert same_bits(merge.tensor(NAME), torch.add(bert.ranker[NAME], expected, alpha=-0.5))
    assert ".trim(0.2).dare(0.5, seed=9)" in str(merge)
    assert not vector.terms[0].plain and bio.terms[0].plain


def test_vectors_that_differ_in_an_edit_alone_are_not_equal(bio, other):
    made = [bio, bio.trim(0.2), bio.trim(0.3), bio.dare(0.2), bio.dare(0.2, seed=1), bio.slerp(), bio.layers("0"),
            bio.breadcrumbs(0.2, outliers=0.1), bio.without("0"), TaskVector.ties(bio, other, density=0.2),
            TaskVector.ties(bio, other, density=0.3), TaskVector.ties(other, bio, density=0.2)]
    assert len(set(made)) == len(made)
    assert len({str(vector.fingerprint) for vector in made}) == len(made)


def test_a_difference_from_the_ranker_is_linear_interpolation(bert):
    merge = Checkpoint(bert.triple.ranker) + 0.3 * TaskVector(bert.triple.domain, bert.triple.ranker)
    expected = 0.7 * bert.ranker[NAME].double() + 0.3 * bert.domain[NAME].double()
    assert merge.tensor(NAME).double().numpy() == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, -0.2])
def test_slerp_is_the_point_on_the_great_circle(bert, alpha):
    merge = Checkpoint(bert.triple.ranker) + TaskVector(bert.triple.domain, bert.triple.ranker).slerp()
    merge = Merge(merge.ranker, merge.vectors, {name: alpha for name in merge.alphas})
    for name in (NAME, "encoder.layer.1.output.LayerNorm.weight"):
        ours, theirs = bert.ranker[name].double().numpy(), bert.domain[name].double().numpy()
        omega = np.arccos((ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs))
        expected = (np.sin((1 - alpha) * omega) * ours + np.sin(alpha * omega) * theirs) / np.sin(omega)
        if np.cos(omega) > 0.9995:
            expected = ours + alpha * (theirs - ours)
        assert merge.tensor(name).double().numpy() == pytest.approx(expected, abs=2e-6)
    assert alpha or same_bits(merge.tensor(NAME), bert.ranker[NAME])


#: A method -> the vectors that are merged in memory and on disk.
MERGED = {
    "trim": lambda bio, other, case: {"v": bio.trim(0.2)},
    "dare": lambda bio, other, case: {"v": bio.dare(0.5, seed=2)},
    "ties": lambda bio, other, case: {"v": TaskVector.ties(bio, other, density=0.3)},
    "slerp": lambda bio, other, case: {"v": TaskVector(case.triple.domain, case.triple.ranker).slerp()},
    "several": lambda bio, other, case: {"v": bio.without("embeddings"), "w": other.breadcrumbs(0.5, outliers=0.1)},
}


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("make", MERGED.values(), ids=MERGED)
def test_the_loaded_module_and_the_files_get_the_same_weights(bert, bio, other, make, where):
    vectors = make(bio, other, bert)
    weights = LoadedWeights(module_of(bert.triple.ranker), make_plan(Checkpoint(bert.triple.ranker), vectors), where)
    for alpha in (0.7, -0.3):
        weights.set(WeightSetting("merged", tuple((name, alpha) for name in vectors)))
        merge = Merge(Checkpoint(bert.triple.ranker), vectors, dict.fromkeys(vectors, alpha))
        found = weights_of(weights.module)
        assert not differing(found, {name: merge.tensor(name).float() for name in found})
    weights.set(WeightSetting("ranker"))
    assert not differing(weights_of(weights.module), {name: value.float() for name, value in bert.ranker.items()})


def test_a_saved_vector_keeps_its_edits(bert, bio, other, tmp_path):
    for place, vector in enumerate((bio.trim(0.2), TaskVector.ties(bio, other, density=0.3).layers("0"))):
        loaded = TaskVector.load(vector.save(tmp_path / f"{place}.safetensors"))
        assert same_bits(loaded.terms[0].tensor(NAME), vector.terms[0].tensor(NAME))
        assert loaded.terms[0].selects("encoder.layer.1.output.dense.bias") == (place == 0)


@pytest.mark.parametrize(("make", "message"), [
    (lambda bio, other: bio.trim(0), r"density=0: must be a number above 0 and at most 1"),
    (lambda bio, other: bio.trim(float("nan")), "density=nan"),
    (lambda bio, other: bio.dare("half"), "density='half'"),
    (lambda bio, other: bio.dare(0.5, seed=0.5), "seed=0.5: must be a whole number"),
    (lambda bio, other: bio.breadcrumbs(0.5, outliers=1.0), "outliers=1.0: must be a number at least 0 and below 1"),
    (lambda bio, other: bio.breadcrumbs(0.8, outliers=0.3), "more than 1 together"),
    (lambda bio, other: TaskVector.ties(bio, density=0.2), "two or more"),
    (lambda bio, other: (0.5 * bio).slerp(), "is a sum or scaled"),
    (lambda bio, other: (bio + other).slerp(), "is a sum or scaled"),
])
def test_bad_arguments_are_named(bio, other, make, message):
    with pytest.raises(MergeError, match=message):
        make(bio, other)


def test_slerp_starts_at_the_ranker_and_nowhere_else(bert, bio, other):
    ranker = Checkpoint(bert.triple.ranker)
    with pytest.raises(MergeError, match="SLERP goes from Θ_T to one other model"):
        _ = (ranker + bio.slerp()).plan
    with pytest.raises(MergeError, match="allows no further vector"):
        _ = (ranker + TaskVector(bert.triple.domain, bert.triple.ranker).slerp() + other).plan
    with pytest.raises(MergeError, match="no τ to save"):
        bio.slerp().save("nowhere.safetensors")


def test_ties_needs_a_parameter_in_every_vector_that_selects_it(bert, bio, other, made):
    distilled = TaskVector(made("distilbert-mixed").triple.domain, made("distilbert-mixed").triple.base)
    with pytest.raises(MergeError, match="different tokens|different architectures|different shapes"):
        _ = (Checkpoint(bert.triple.ranker) + TaskVector.ties(bio, distilled, density=0.2)).plan
