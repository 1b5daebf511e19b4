"""However a checkpoint lies on disk, it has the same names and the same tensors."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file

from pyterrier_taskarith import TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from testing import bert_triple, lora_adapter, t5_triple
from tests.checkpoints.by_hand import copied, hub_cache, parameters, raw, same_bits

LAYOUTS = ["safetensors", "sharded", "bin", "sharded_bin"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def holds(checkpoint: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    """Asserts that a checkpoint has exactly these parameters, bit for bit."""
    assert set(checkpoint.shapes) == set(expected)
    for name, tensor in expected.items():
        assert checkpoint.shapes[name] == tuple(tensor.shape) and checkpoint.dtype(name) == tensor.dtype
        assert same_bits(checkpoint.tensor(name), tensor), name
    checkpoint.close()
    assert all(same_bits(checkpoint.tensor(name), tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("family", "prefix"), [("bert", "bert."), ("roberta", "roberta."),
                                                ("distilbert", "distilbert.")])
def test_masked_and_bare_models_have_bare_names_in_every_layout(tmp_path, family, prefix, layout, dtype):
    made = bert_triple(tmp_path, family=family, layout=layout, shards=3, dtype=dtype,
                       duplicated=True, position_ids=True, legacy_names={"base": family == "bert"})
    bare = parameters(made.ranker)
    holds(Checkpoint(made.ranker), bare)
    for folder in (made.base, made.domain):
        masked = parameters(folder, prefix=prefix)
        assert set(bare) - set(masked) <= {"pooler.dense.weight", "pooler.dense.bias"}
        holds(Checkpoint(folder), masked)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_t5_folders_hold_their_embedding_once_in_every_layout(tmp_path, kind, layout):
    made = t5_triple(tmp_path, kind=kind, layout=layout, shards=3, duplicated=True, stray=True)
    expected = parameters(made.domain, tied_output=kind == "t5")
    assert "shared.weight" in expected and ("lm_head.weight" in expected) == (kind == "mt5")
    holds(Checkpoint(made.domain), expected)


def test_one_file_is_read_with_the_config_beside_it(bert, tmp_path):
    holds(Checkpoint(bert.ranker / "model.safetensors"), parameters(bert.ranker))
    made = bert_triple(tmp_path, layout="bin")
    holds(Checkpoint(str(made.base / "pytorch_model.bin")), parameters(made.base, prefix="bert."))


def test_the_file_named_is_read_though_the_folder_has_others(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "two")
    other = {name: tensor + 1 for name, tensor in raw(folder).items()}
    save_file(other, folder / "epoch2.safetensors")
    holds(Checkpoint(folder / "epoch2.safetensors"), other)
    holds(Checkpoint(folder), raw(bert.ranker))


def test_a_transformer_in_a_sub_folder_of_a_sentence_transformer_is_found(tmp_path):
    made = bert_triple(tmp_path, transformer_path="0_Transformer")
    checkpoint = Checkpoint(made.ranker)
    assert checkpoint.located.root == made.ranker and checkpoint.folder == made.ranker / "0_Transformer"
    holds(checkpoint, raw(made.ranker / "0_Transformer"))
    assert checkpoint.vocabulary is not None and checkpoint.config["model_type"] == "bert"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hub_id_is_read_from_the_hubs_cache_offline(tmp_path, hub, layout):
    made = bert_triple(tmp_path, layout=layout, transformer_path="0_Transformer")
    snapshot = hub_cache(hub, "org/ranker", made.ranker, commit=COMMIT)
    checkpoint = Checkpoint("org/ranker")
    assert checkpoint.located.root == snapshot
    holds(checkpoint, raw(made.ranker / "0_Transformer"))
    hub_cache(hub, "base", made.base, commit=COMMIT)
    holds(Checkpoint("base"), parameters(made.base, prefix="bert."))


def test_a_revision_of_a_hub_id_is_another_checkpoint(tmp_path, hub, bert):
    other = bert_triple(tmp_path, seed=1)
    hub_cache(hub, "org/name", bert.ranker, commit=COMMIT)
    hub_cache(hub, "org/name", other.ranker, commit=COMMIT[::-1], branch="v2.0")
    holds(Checkpoint("org/name"), raw(bert.ranker))
    holds(Checkpoint("org/name@v2.0"), raw(other.ranker))
    holds(Checkpoint(f"org/name@{COMMIT[::-1]}"), raw(other.ranker))


def test_safetensors_win_over_bin_and_one_file_over_shards_as_in_transformers(bert, tmp_path):
    from transformers import AutoModel

    folder = copied(bert.ranker, tmp_path / "both")
    other = {name: tensor + 1 for name, tensor in raw(folder).items()}
    torch.save({name: tensor + 2 for name, tensor in other.items()}, folder / "pytorch_model.bin")
    save_file(other, folder / "model-00001-of-00001.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": dict.fromkeys(other, "model-00001-of-00001.safetensors")}))
    loaded = AutoModel.from_pretrained(folder).state_dict()
    checkpoint = Checkpoint(folder)
    assert all(torch.equal(loaded[name], checkpoint.tensor(name)) for name in checkpoint.shapes)
    holds(checkpoint, raw(bert.ranker))


def test_a_saved_parameter_comes_without_gradients(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "parameters")
    (folder / "model.safetensors").unlink()
    expected = raw(bert.ranker)
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in expected.items()}, folder / "pytorch_model.bin")
    checkpoint = Checkpoint(folder)
    assert not any(checkpoint.tensor(name).requires_grad for name in checkpoint.shapes)
    holds(checkpoint, expected)


def test_a_bin_file_from_before_pytorch_1_6_is_read(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "old")
    (folder / "model.safetensors").unlink()
    torch.save(raw(bert.ranker), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    holds(Checkpoint(folder), raw(bert.ranker))


def test_names_of_wrappers_are_taken_off(bert, tmp_path):
    expected = raw(bert.ranker)
    for wrapper in ("0.auto_model.", "module.", "auto_model.", "module.bert."):
        folder = copied(bert.ranker, tmp_path / wrapper)
        save_file({wrapper + name: tensor for name, tensor in expected.items()}, folder / "model.safetensors")
        holds(Checkpoint(folder), expected)


def test_nothing_is_opened_until_it_is_asked_for(tmp_path):
    checkpoint = Checkpoint(tmp_path / "nowhere")
    assert checkpoint == Checkpoint(checkpoint) == Checkpoint(str(tmp_path / "nowhere"))
    assert hash(checkpoint) == hash(pickle.loads(pickle.dumps(checkpoint)))
    assert checkpoint != Checkpoint(tmp_path) and "nowhere" in repr(checkpoint)
    with pytest.raises(CheckpointError, match="nowhere"):
        _ = checkpoint.shapes


def test_a_pickled_checkpoint_is_its_source_not_its_weights(bert):
    checkpoint = Checkpoint(bert.ranker)
    checkpoint.tensor("embeddings.LayerNorm.weight")
    assert checkpoint.config and checkpoint.vocabulary
    assert len(pickle.dumps(checkpoint)) < 1000


def test_unknown_keys_of_the_config_are_kept(t5):
    assert Checkpoint(t5.ranker).config == json.loads((t5.ranker / "config.json").read_text())
    assert Checkpoint(t5.ranker).config["n_positions"] == 512


def test_the_tokenizer_is_the_folders(bert, tmp_path):
    tokenizer = Checkpoint(bert.ranker).tokenizer()
    assert tokenizer.get_vocab() == Checkpoint(bert.ranker).vocabulary
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_text((bert.ranker / "config.json").read_text())
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        Checkpoint(folder).tokenizer()


def test_companions_are_all_small_files_of_every_folder_that_belongs_to_a_checkpoint(bert, tmp_path):
    ranker = copied(bert.ranker, tmp_path / "ranker")
    (ranker / "2_Dense").mkdir()
    for name in ("config.json", "model.safetensors"):
        (ranker / "2_Dense" / name).write_bytes(b"{}")
    modules = json.loads((ranker / "modules.json").read_text())
    (ranker / "modules.json").write_text(json.dumps([*modules, {"type": "x.Dense", "path": "2_Dense"}]))
    found = {str(path.relative_to(ranker)) for path in Checkpoint(ranker).companions()}
    assert {"config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
            "2_Dense/model.safetensors"} <= found
    assert "model.safetensors" not in found


def test_an_adapters_own_tokenizer_is_among_its_companions_and_its_bases_configuration_too(bert, tmp_path):
    lora_adapter(tmp_path / "a", bert.base, targets=["query"])
    shutil.copy(bert.base / "tokenizer.json", tmp_path / "a")
    found = Checkpoint(tmp_path / "a").companions()
    assert len(found) == len(set(found))
    assert {tmp_path / "a" / "tokenizer.json", tmp_path / "a" / "adapter_config.json",
            bert.base / "config.json", bert.base / "tokenizer.json"} <= set(found)


def test_a_merged_folder_tells_its_origin_and_others_have_none(bert, tmp_path):
    merged = Checkpoint(bert.ranker) + 0.5 * TaskVector(bert.domain, bert.base)
    assert Checkpoint(merged.save(tmp_path / "m")).origin == str(bert.ranker)
    assert Checkpoint(bert.ranker).origin is None
    for content in ("", "[]", '{"recipe": {"inputs": [3]}}', '{"recipe": {"inputs": []}}'):
        (tmp_path / "m" / "taskarith.json").write_text(content)
        assert Checkpoint(tmp_path / "m").origin is None
