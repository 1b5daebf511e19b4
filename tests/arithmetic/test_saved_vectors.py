"""Task vectors saved to a file give the merge that the vector itself gives."""

import pickle
import random

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pyterrier_taskarith.arithmetic import MergeError, TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from testing import bert_triple
from tests.arithmetic.modules import differing
from tests.arithmetic.reference import Case, read
from tests.checkpoints.by_hand import copied, rewrite, same_bits, sha256


@pytest.mark.parametrize("alpha", [1.0, 0.7, -0.3])
def test_a_saved_vector_gives_the_same_merge(case, tmp_path, alpha):
    path = TaskVector(case.triple.domain, case.triple.base).save(tmp_path / "new" / "v.safetensors")
    loaded = TaskVector.load(path)
    assert not differing(dict(case.tau), load_file(path)) and set(load_file(path)) == set(case.tau)
    ours = Checkpoint(case.triple.ranker) + alpha * loaded
    assert all(same_bits(ours.tensor(name).float(), tensor) for name, tensor in case.merged(alpha).items())
    assert [found.name for found in path.parent.iterdir()] == ["v.safetensors"]


def test_a_saved_sum_is_added_up_in_float32(bert, toxic, bio, other, tmp_path):
    path = (0.7 * bio - 0.2 * other).save(tmp_path / "sum.safetensors")
    expected = {name: tau * 0.7 + toxic.tau[name] * -0.2 for name, tau in bert.tau.items()}
    assert not differing(load_file(path), expected)


def test_a_saved_sum_keeps_what_only_its_second_vector_has(bert, bio, tmp_path):
    with_pooler = Case(bert_triple(tmp_path / "pooler", seed=7, pooler_in=("base", "domain")), "bert.")
    second = TaskVector(with_pooler.triple.domain, with_pooler.triple.base)
    path = (bio + second).save(tmp_path / "sum.safetensors")
    assert same_bits(load_file(path)["pooler.dense.weight"], with_pooler.tau["pooler.dense.weight"])
    live, loaded = (Checkpoint(bert.triple.ranker) + vector for vector in (bio + second, TaskVector.load(path)))
    assert live.plan.entries == loaded.plan.entries


def test_a_saved_sum_of_which_one_vector_lacks_a_backbone_parameter_is_refused(bert, bio, toxic, tmp_path):
    lost = "bert.encoder.layer.1.output.dense.bias"
    domain = copied(toxic.triple.domain, tmp_path / "domain")
    rewrite(domain, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != lost})
    with pytest.raises(MergeError, match=r"'encoder\.layer\.1\.output\.dense\.bias' is absent from Θ_D .*domain"):
        (bio + TaskVector(domain, toxic.triple.base)).save(tmp_path / "sum.safetensors")
    assert not list(tmp_path.glob("*.safetensors")) and not list(tmp_path.glob(".*"))


def test_a_saved_vector_of_some_layers_leaves_the_others_alone(bert, bio, tmp_path):
    vector = bio.layers("1,embeddings")
    path = vector.save(tmp_path / "layers.safetensors")
    assert set(load_file(path)) == {name for name in bert.tau if name.startswith(("encoder.layer.1.", "embeddings."))}
    live, loaded = (Checkpoint(bert.triple.ranker) + 0.7 * v for v in (vector, TaskVector.load(path)))
    assert live.plan.entries == loaded.plan.entries
    assert not differing(read(live, bert.ranker), read(loaded, bert.ranker))


def test_layers_of_a_sum_outlive_saving_twice(bert, bio, other, tmp_path):
    vector = bio.layers("0") + 0.5 * other.layers("1,embeddings")
    once = TaskVector.load(vector.save(tmp_path / "once.safetensors"))
    twice = TaskVector.load(once.layers("0-1").save(tmp_path / "twice.safetensors"))
    ranker = Checkpoint(bert.triple.ranker)
    assert (ranker + vector).plan.entries == (ranker + once).plan.entries
    assert (ranker + vector.layers("0-1")).plan.entries == (ranker + twice).plan.entries
    assert not differing(read(ranker + vector.layers("0-1"), bert.ranker), read(ranker + twice, bert.ranker))


def test_a_saved_vector_says_what_it_was_made_from_and_its_fingerprint_is_its_files(bert, bio, tmp_path):
    path = (0.5 * bio).save(tmp_path / "v.safetensors")
    with safe_open(path, "pt") as file:
        assert str(bert.triple.domain) in file.metadata()["recipe"] and "0.5" in file.metadata()["recipe"]
    loaded = TaskVector.load(path)
    assert loaded.fingerprint == [(1.0, sha256(path), "")] and loaded.difference is None
    assert pickle.loads(pickle.dumps(loaded)) == loaded == TaskVector.load(str(path))


def test_saving_replaces_a_file_whole_or_not_at_all(bert, bio, tmp_path, monkeypatch):
    path = bio.save(tmp_path / "v.safetensors")
    before = path.read_bytes()
    true, calls = Checkpoint.tensor, []

    def failing(self, name):
        calls.append(name)
        if len(calls) > 20:
            raise OSError("disk gone")
        return true(self, name)

    monkeypatch.setattr(Checkpoint, "tensor", failing)
    with pytest.raises(OSError, match="disk gone"):
        (2 * bio).save(path)
    assert path.read_bytes() == before and [found.name for found in tmp_path.glob("*v.safe*")] == ["v.safetensors"]
    monkeypatch.setattr(Checkpoint, "tensor", true)
    TaskVector.load(path).save(path)  # onto the file it is read from
    assert not differing(load_file(path), bert.tau)


def test_what_is_no_saved_vector_is_refused(bert, tmp_path):
    with pytest.raises(MergeError, match="is not a saved task vector"):
        TaskVector.load(bert.triple.ranker / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors cannot be read"):
        TaskVector.load(tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_bytes(random.Random(0).randbytes(100))
    with pytest.raises(CheckpointError, match=r"text\.safetensors cannot be read"):
        TaskVector.load(tmp_path / "text.safetensors")


def test_a_saved_vector_with_nan_names_the_tensor(bert, bio, tmp_path):
    path = bio.save(tmp_path / "v.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["encoder.layer.0.output.dense.bias"][2] = float("nan")
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(MergeError, match=r"v\.safetensors: encoder\.layer\.0\.output\.dense\.bias holds 1 values"):
        (Checkpoint(bert.triple.ranker) + TaskVector.load(path)).save(tmp_path / "merged")
