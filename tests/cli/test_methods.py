"""Merge methods on the command line are the verbs of a task vector."""

import pytest

from pyterrier_taskarith import Checkpoint, Merge, TaskVector
from testing import bert_triple
from tests.checkpoints.by_hand import raw, same_bits

METHODS = {
    ("--trim", "0.3"): lambda vector: vector.trim(0.3),
    ("--dare", "0.5", "--seed", "7"): lambda vector: vector.dare(0.5, seed=7),
    ("--breadcrumbs", "0.5", "--outliers", "0.1"): lambda vector: vector.breadcrumbs(0.5, outliers=0.1),
}
NAME = "encoder.layer.0.output.dense.weight"


def saved(printed, tmp_path, *options):
    status, _, err = printed("merge", *options, "--alpha", "0.7", "--out", tmp_path / "out")
    assert status == 0, err
    return raw(tmp_path / "out")[NAME]


def expected(triple, vector):
    return Merge(Checkpoint(triple.ranker), {"v": vector}, {"v": 0.7}).tensor(NAME)


@pytest.mark.parametrize("options", METHODS, ids=lambda options: options[0])
def test_an_edit_is_the_verb_of_that_name(triple, models, printed, tmp_path, options):
    vector = METHODS[options](TaskVector(triple.domain, triple.base))
    assert same_bits(saved(printed, tmp_path, *models, *options), expected(triple, vector))


def test_ties_takes_all_vectors(triple, printed, tmp_path):
    other = bert_triple(tmp_path / "other", seed=5)
    pairs = [(triple.domain, triple.base), (other.domain, other.base)]
    given = [part for name, (domain, base) in zip("ab", pairs, strict=True)
             for part in ("--vector", f"{name}={domain},{base}")]
    vector = TaskVector.ties(*(TaskVector(*pair) for pair in pairs), density=0.2)
    found = saved(printed, tmp_path, "--ranker", triple.ranker, *given, "--ties", "0.2")
    assert same_bits(found, expected(triple, vector))


@pytest.mark.parametrize("path", ["linear", "slerp"])
def test_interpolation_needs_no_base(triple, printed, tmp_path, path):
    vector = TaskVector(triple.domain, triple.ranker)
    found = saved(printed, tmp_path, "--ranker", triple.ranker, "--domain", triple.domain, "--interpolate", path)
    assert same_bits(found, expected(triple, vector.slerp() if path == "slerp" else vector))


@pytest.mark.parametrize(("options", "message"), [
    (("--trim", "0"), "'0': give the share of the values that is kept"),
    (("--dare", "half"), "'half': give the share"),
    (("--trim", "0.5", "--dare", "0.5"), "not allowed with argument --trim"),
    (("--interpolate", "slerp"), "needs no --base"),
])
def test_what_contradicts_itself_is_a_usage_error(models, printed, tmp_path, options, message):
    status, _, err = printed("merge", *models, *options, "--out", tmp_path / "out")
    assert status == 2 and message in err


def test_ties_of_one_vector_says_what_to_use(models, printed, tmp_path):
    status, _, err = printed("merge", *models, "--ties", "0.2", "--out", tmp_path / "out")
    assert status == 1 and "use .trim(density)" in err and not (tmp_path / "out").exists()
