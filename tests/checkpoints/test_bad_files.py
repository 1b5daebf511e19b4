"""Damaged and hostile files get an error that names them; no file's code runs and nothing outside a folder is read."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from testing import bert_triple
from tests.checkpoints.by_hand import copied, raw


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
                                     {"state_dict": {"weight": torch.ones(2)}}, {1: torch.ones(2)}])
def test_a_bin_file_that_maps_no_names_to_tensors_is_an_error(bert, tmp_path, content):
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin does not hold a plain mapping"):
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
    with pytest.raises(CheckpointError, match=r"index\.json is not a shard index"):
        _ = Checkpoint(folder).shapes


@pytest.mark.parametrize("layout", ["sharded", "sharded_bin"])
def test_a_shard_with_tensors_that_its_index_does_not_list_is_an_error(tmp_path, layout):
    # transformers 4.57 leaves them out, 5 reads them.
    folder = bert_triple(tmp_path, layout=layout).ranker
    path = min(path for path in folder.glob("*model-*"))
    everything = {name: tensor.clone() for name, tensor in raw(folder).items()}
    if layout == "sharded":
        save_file(everything, path, metadata={"format": "pt"})
    else:
        torch.save(everything, path)
    with pytest.raises(CheckpointError, match=rf"{path.name} has \d+ tensors \(.*…\) that its index does not say"):
        _ = Checkpoint(folder).shapes


def test_a_shard_that_lacks_a_tensor_of_its_index_is_an_error(tmp_path):
    folder = bert_triple(tmp_path, layout="sharded").ranker
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    shards = sorted(set(content["weight_map"].values()))
    content["weight_map"]["pooler.dense.bias"] = next(
        shard for shard in shards if shard != content["weight_map"]["pooler.dense.bias"])
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors \(pooler\.dense\.bias\) that its index says"):
        for file in Checkpoint(folder).files:
            file.shapes()


@pytest.mark.parametrize(("content", "message"), [
    ('{"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}}', "the name 'a' is there twice"),
    ('{"weight_map": {}}', "it lists no tensor"),
    ('{"weight_map": ' + "[" * 100_000, "is not a shard index"),
    ('{"weight_map": {"a": "training_args.bin"}}', "the shard 'training_args.bin', which is not a .safetensors file"),
    (json.dumps({"weight_map": {"a": "x" * 300 + ".safetensors"}}), "not a file of its own folder"),
    ('{"weight_map": {"a": "\\u0000.safetensors"}}', "which is absent"),
])
def test_an_index_that_cannot_be_followed_is_refused(bert, tmp_path, content, message):
    folder = with_index(bert, tmp_path / "index", content)
    with pytest.raises(CheckpointError, match=rf"index\.json.*{message}"):
        _ = Checkpoint(folder).shapes


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3000}, {"num_hidden_layers": 10**7}])
def test_a_configuration_with_more_layers_than_tensors_is_refused_before_a_module_is_built(bert, tmp_path, change):
    folder = copied(bert.ranker, tmp_path / "deep")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=r"config.json: num_hidden_layers = \d+, but the files hold \d+ tensors"):
        _ = TaskArithReranker(folder, vectors={}, verbose=False).model


def test_code_that_a_folder_brings_is_not_run_and_not_needed_for_a_known_type(bert, tmp_path):
    # As transformers decides without consent: its own class where it has one, else an error.
    folder = copied(bert.ranker, tmp_path / "code")
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Model: pass\nConfig = Model")
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map}))
    with pytest.raises(CheckpointError, match=r"config.json names code of its own .*auto_map: modeling.Model\), .*"
                                              "'bert'.*trust_config=True, --trust-config"):
        _ = Checkpoint(folder).config
    trusted = Checkpoint(folder, trust_config=True)
    for model in (trusted, Checkpoint(trusted), pickle.loads(pickle.dumps(trusted))):
        assert set(model.shapes) == set(raw(bert.ranker))
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map, "model_type": "own_bert"}))
    with pytest.raises(CheckpointError, match=r"code of its own \(auto_map\) for the model type 'own_bert'.*never run"):
        _ = Checkpoint(folder).shapes
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("model_type", "code"), [
    ("mistral", "modeling_bidirectional.MistralBiModel"), ("qwen2", "own/code--modeling_qwen.Qwen2Model"),
    ("xlm-roberta", "jinaai/xlm-roberta-flash-implementation--modeling_lora.XLMRobertaLoRA")])
def test_published_code_beside_a_known_type_is_refused_by_name(tmp_path, model_type, code):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "auto_map": {"AutoModel": code}}))
    with pytest.raises(CheckpointError, match=f"auto_map: {code}.*transformers' own class for '{model_type}'"):
        _ = Checkpoint(tmp_path).config
    with pytest.raises(CheckpointError, match="it has none of model.safetensors"):
        _ = Checkpoint(tmp_path, trust_config=True).shapes


def test_a_tokenizers_own_code_is_not_run_and_nobody_is_asked(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    folder = copied(bert.ranker, tmp_path / "code")
    (folder / "tokenization.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Own: pass")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["tokenization.Own", None]}}))
    try:  # transformers 5 falls back on tokenizer.json, 4.57 refuses
        assert Checkpoint(folder).tokenizer().get_vocab() == Checkpoint(bert.ranker).vocabulary
    except CheckpointError as error:
        assert "has no tokenizer that transformers can load" in str(error)
    assert not (tmp_path / "sprung").exists()


def test_quantised_weights_are_refused(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "int8")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(CheckpointError, match=r"quantised \(quantization_config\).*as it was before quantisation"):
        _ = Checkpoint(folder).shapes


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("value", [torch.ones(1).expand(10**12), torch.eye(3).to_sparse(),
                                   torch.empty(3, device="meta")],
                         ids=["one value said to be many", "sparse", "without values"])
def test_a_tensor_that_the_file_does_not_hold_in_full_is_refused(bert, tmp_path, value):
    folder = with_bin(bert, tmp_path / "odd", {"pooler.dense.bias": value})
    with pytest.raises(CheckpointError, match=r"'pooler\.dense\.bias' is not a plain tensor|cannot be read as PyTorch"):
        _ = Checkpoint(folder).shapes


def test_a_folder_without_weights_is_no_checkpoint(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    (folder / "training_args.bin").write_bytes(b"")
    (folder / "adapter.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has none of model\.safetensors, "):
        _ = Checkpoint(folder).shapes


def test_a_folder_without_config_is_no_checkpoint(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "bare")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="is not a checkpoint: it has no config.json"):
        _ = Checkpoint(folder).shapes
    with pytest.raises(CheckpointError, match="it has no config.json"):
        _ = Checkpoint(folder / "model.safetensors").shapes


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is not JSON"), ("[1]", "is not a JSON object"), ("null", "is not a JSON object"),
    ("\ud83d", "is not JSON"),
    ("{}", "states no model_type that transformers knows.*None"),
    ('{"model_type": "new", "architectures": ["NewModel"]}',
     "states no model_type.*'new', of .*NewModel.*code of its own.*never run"),
    ('{"model_type": "nonsense"}', "states no model_type that transformers knows.*'nonsense'"),
    ('{"model_type": ["bert"]}', "model_type = .* must be a text"),
])
def test_a_config_that_is_none_is_named(bert, tmp_path, content, message):
    folder = copied(bert.ranker, tmp_path / "config")
    (folder / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=rf"config\.json:? {message}"):
        _ = Checkpoint(folder).shapes


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_a_file_that_holds_no_weights_is_none(bert, name):
    with pytest.raises(CheckpointError, match=f"{name} is not a weight file"):
        _ = Checkpoint(bert.ranker / name).shapes


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is not a list of sentence-transformers modules"), ("[]", "is not a list"),
    ('[{"type": "x.Transformer"}]', "is not a list"),
    ('[{"type": "x.models.WordEmbeddings", "path": ""}]', "only a Transformer of sentence-"),
    ('[{"type": "custom_st.Transformer", "path": ""}]', "'custom_st.Transformer'; only a Transformer of sentence-"),
    ('[{"type": "x.models.Transformer", "path": "../outside"}]', "is outside .*refused"),
    ('[{"type": "x.models.Transformer", "path": "a/../../evil"}]', "is outside .*refused"),
    ('[{"type": "x.models.Transformer", "path": "/"}]', "is outside .*refused"),
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
