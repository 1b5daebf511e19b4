"""Damaged and hostile files get an error that names them; no file's code runs and nothing outside a folder is read."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from pyterrier_taskarith.checkpoints import Checkpoint, CheckpointError
from tests.checkpoints._by_hand import copied, raw
from tests.factories import bert_triple


class Trap:
    """Pickles as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def trap(tmp_path):
    """A pickle that makes the file `sprung` when it is loaded."""
    made = Trap(tmp_path / "sprung")
    yield made
    assert not made.path.exists(), "a pickle's code ran"


def with_bin(bert, folder, content) -> object:
    """A copy of the ranker whose weights are `pytorch_model.bin` with this content."""
    copied(bert.ranker, folder)
    (folder / "model.safetensors").unlink()
    if isinstance(content, bytes):
        (folder / "pytorch_model.bin").write_bytes(content)
    else:
        torch.save(content, folder / "pytorch_model.bin")
    return folder


def test_the_trap_would_spring(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("wrapped", ["zip", "pickle", "before 1.6"])
def test_a_bin_file_that_holds_code_is_refused_and_its_code_does_not_run(bert, tmp_path, trap, wrapped):
    content = {**raw(bert.ranker), "more": trap}
    folder = with_bin(bert, tmp_path / "evil", pickle.dumps(content, protocol=2) if wrapped == "pickle" else content)
    if wrapped == "before 1.6":
        torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"_model\.bin holds something other than tensors.*run code.*refused"):
        _ = Checkpoint(folder).shapes
    with pytest.raises(CheckpointError) as error:
        _ = Checkpoint(folder / "pytorch_model.bin").shapes
    assert "weights_only" not in str(error.value)  # PyTorch's own message tells how to run the code
    assert "(io.open)" in str(error.value) or wrapped == "pickle"


def test_training_args_beside_the_weights_are_never_opened(tmp_path, trap, monkeypatch):
    opened, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda path, **options: opened.append(path) or load(path, **options))
    made = bert_triple(tmp_path, layout={"base": "bin", "domain": "sharded_bin"})
    for folder in (made.base, made.domain, made.ranker):
        (folder / "training_args.bin").write_bytes(pickle.dumps(trap))
        checkpoint = Checkpoint(folder)
        for name in checkpoint.shapes:
            checkpoint.tensor(name)
        _ = checkpoint.fingerprint, checkpoint.vocabulary
    assert len(opened) == 3 and not any(path.name == "training_args.bin" for path in opened)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1", b"<html></html>", b""])
def test_a_file_that_is_no_download_of_the_weights_is_not_called_an_attack(bert, tmp_path, content):
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin .*Is the download complete"):
        _ = Checkpoint(with_bin(bert, tmp_path / "pointer", content)).shapes


@pytest.mark.parametrize("content", [[torch.ones(2)], {"step": 3, "weight": torch.ones(2)},
                                     {"state_dict": {"weight": torch.ones(2)}}])
def test_a_bin_file_that_maps_no_names_to_tensors_is_an_error(bert, tmp_path, content):
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin holds no plain mapping"):
        _ = Checkpoint(with_bin(bert, tmp_path / "other", content)).shapes


@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_a_truncated_file_is_named(tmp_path, layout, keep):
    folder = bert_triple(tmp_path, layout=layout).ranker
    path = next(iter([*folder.glob("*.safetensors"), *folder.glob("*.bin")]))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=rf"{path.name} .*Is the download complete"):
        checkpoint = Checkpoint(folder)
        for name in checkpoint.shapes:
            checkpoint.tensor(name)


def with_index(bert, folder, content):
    """A copy of the ranker with an index of this content in place of its weights, and the weights beside it."""
    copied(bert.ranker, folder)
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/outside.safetensors", "sub/../../outside.safetensors",
                                   "..", ".", "sub/outside.safetensors", 3])
def test_an_index_that_names_a_file_outside_the_folder_is_refused(bert, tmp_path, shard):
    folder = with_index(bert, tmp_path / "evil", {"weight_map": {"a": shard}})
    with pytest.raises(CheckpointError, match=r"index\.json names the shard .*not a file of its own folder; refused"):
        _ = Checkpoint(folder).shapes


def test_an_index_that_names_a_missing_shard_says_which(bert, tmp_path):
    folder = with_index(bert, tmp_path / "part", {"weight_map": {"a": "model-00002-of-00002.safetensors"}})
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors', which is absent"):
        _ = Checkpoint(folder).shapes


@pytest.mark.parametrize("content", ["{", "[]", "{}", {"weight_map": ["a"]}, {"weight_map": {"a": ["b"]}}])
def test_an_index_that_is_none_is_named(bert, tmp_path, content):
    folder = with_index(bert, tmp_path / "index", content)
    with pytest.raises(CheckpointError, match=r"index\.json is no shard index"):
        _ = Checkpoint(folder).shapes


def test_a_tensor_in_two_shards_is_an_error(tmp_path):
    folder = bert_triple(tmp_path, layout="sharded").ranker
    names = sorted(path.name for path in folder.glob("model-*"))
    save_file(raw(folder), folder / names[0], metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"is in both {names[0]} and {names[1]}"):
        _ = Checkpoint(folder).shapes


def test_a_folder_without_weights_is_no_checkpoint(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    (folder / "training_args.bin").write_bytes(b"")
    (folder / "adapter.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it has none of model\.safetensors, "):
        _ = Checkpoint(folder).shapes


def test_a_folder_without_config_is_no_checkpoint(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "bare")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="is no checkpoint: it has no config.json"):
        _ = Checkpoint(folder).shapes
    with pytest.raises(CheckpointError, match="it has no config.json"):
        _ = Checkpoint(folder / "model.safetensors").shapes


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is no JSON object"), ("[1]", "is no JSON object"), ("null", "is no JSON object"), ("\ud83d", "is no JSON"),
    ("{}", "states no model_type that transformers knows.*None"),
    ('{"model_type": "nonsense"}', "states no model_type that transformers knows.*'nonsense'"),
    ('{"model_type": ["bert"]}', "states no model_type that transformers knows"),
])
def test_a_config_that_is_none_is_named(bert, tmp_path, content, message):
    folder = copied(bert.ranker, tmp_path / "config")
    (folder / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=rf"config\.json {message}"):
        _ = Checkpoint(folder).shapes


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_a_file_that_holds_no_weights_is_none(bert, name):
    with pytest.raises(CheckpointError, match=f"{name} is no weight file"):
        _ = Checkpoint(bert.ranker / name).shapes


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is no list of sentence-transformers modules"), ("[]", "is no list"),
    ('[{"type": "x.Transformer"}]', "is no list"),
    ('[{"type": "x.models.WordEmbeddings", "path": ""}]', "only a Transformer can be merged"),
    ('[{"type": "x.models.Transformer", "path": "../outside"}]', "lies outside .*refused"),
    ('[{"type": "x.models.Transformer", "path": "a/../../evil"}]', "lies outside .*refused"),
    ('[{"type": "x.models.Transformer", "path": "/"}]', "lies outside .*refused"),
])
def test_modules_that_name_no_transformer_of_the_folder_are_refused(bert, tmp_path, content, message):
    folder = copied(bert.ranker, tmp_path / "evil")
    copied(bert.ranker, tmp_path / "outside")
    (folder / "modules.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"modules\.json.*{message}"):
        _ = Checkpoint(folder).shapes


def test_a_type_that_no_merge_can_use_is_named(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "float8")
    save_file({"pooler.dense.weight": torch.ones(2).to(torch.float8_e4m3fn)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="'pooler.dense.weight' is stored as F8_E4M3"):
        Checkpoint(folder).dtype("pooler.dense.weight")


def test_a_parameter_that_it_does_not_have_is_a_key_error(bert):
    with pytest.raises(KeyError, match="lm_head"):
        Checkpoint(bert.ranker).tensor("lm_head.weight")


def test_an_undeclared_family_can_be_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "rembert"}')
    save_file({"rembert.encoder.layer.0.output.dense.bias": torch.ones(2), "cls.predictions.bias": torch.ones(3)},
              tmp_path / "model.safetensors")
    assert Checkpoint(tmp_path).shapes == {"encoder.layer.0.output.dense.bias": (2,), "cls.predictions.bias": (3,)}
