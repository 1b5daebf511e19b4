"""Checkpoints from a hub: what is fetched, what never is, and what an error says."""

import json

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download, snapshot_download

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from testing import bert_triple, lora_adapter
from tests.checkpoints.by_hand import copied, forget_connections, hub_cache, parameters, raw, same_bits
from tests.checkpoints.stub_hub import stub_hub

COMMIT = "fedcba9876543210fedcba9876543210fedcba98"


@pytest.fixture
def online(hub, monkeypatch):
    """A hub on this machine, which huggingface_hub uses; its cache folder is `hub`."""
    with stub_hub() as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        forget_connections()
        yield server


@pytest.fixture
def litter(tmp_path):
    """Fills a folder with what hubs have beside a model."""
    def add(folder):
        for name in ("training_args.bin", "flax_model.msgpack", "tf_model.h5", "optimizer.pt", "rust_model.ot"):
            (folder / name).write_bytes(b"never to be opened")
        return folder
    return add


@pytest.mark.parametrize(("layout", "weights"), [
    ("safetensors", {"model.safetensors"}),
    ("sharded", {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}),
    ("bin", {"pytorch_model.bin"}),
    ("sharded_bin", {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"}),
])
def test_only_the_small_files_and_one_format_of_the_weights_are_fetched(tmp_path, online, litter, layout, weights):
    made = bert_triple(tmp_path, layout=layout, shards=2)
    online.publish("org/name", litter(made.base), COMMIT)
    checkpoint = Checkpoint("org/name")
    assert all(same_bits(checkpoint.tensor(name), tensor)
               for name, tensor in parameters(made.base, prefix="bert.").items())
    here = {path.name for path in checkpoint.folder.iterdir()}
    assert here - {"model.safetensors.index.json", "pytorch_model.bin.index.json"} == {
        "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", *weights}
    assert not {"training_args.bin", "flax_model.msgpack", "tf_model.h5", "optimizer.pt"} & set(online.asked)


def test_safetensors_are_fetched_where_there_is_a_bin_too(bert, tmp_path, online):
    folder = copied(bert.ranker, tmp_path / "both")
    (folder / "pytorch_model.bin").write_bytes(b"other")
    online.publish("org/name", folder, COMMIT)
    assert set(Checkpoint("org/name").shapes) == set(raw(bert.ranker))
    assert "pytorch_model.bin" not in online.asked


def test_what_was_fetched_is_there_offline(bert, online, monkeypatch):
    online.publish("org/name", bert.ranker, COMMIT)
    expected = Checkpoint("org/name").fingerprint
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget_connections()
    online.asked.clear()
    assert Checkpoint("org/name").fingerprint == expected
    assert not online.asked


def test_a_cache_filled_by_another_program_without_the_readme_serves_offline(bert, tmp_path, online, monkeypatch):
    folder = copied(bert.ranker, tmp_path / "copy")
    (folder / "README.md").write_text("about")
    online.publish("org/name", folder, COMMIT)
    snapshot_download("org/name", allow_patterns=["config.json", "model.safetensors", "tokenizer.json"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget_connections()
    assert set(Checkpoint("org/name").shapes) == set(raw(bert.ranker))


def test_all_files_are_of_one_commit_though_the_branch_moves(bert, tmp_path, online, monkeypatch):
    online.publish("org/name", bert.ranker, COMMIT)
    other = bert_triple(tmp_path, seed=1)
    true = huggingface_hub.snapshot_download

    def moving(*args, **kwargs):
        root = true(*args, **kwargs)
        online.publish("org/name", other.ranker, COMMIT[::-1])
        return root

    monkeypatch.setattr(huggingface_hub, "snapshot_download", moving)
    checkpoint = Checkpoint("org/name")
    assert checkpoint.folder.name == COMMIT
    assert all(same_bits(checkpoint.tensor(name), tensor) for name, tensor in raw(bert.ranker).items())


def test_a_gated_model_says_how_to_get_it(bert, online):
    online.publish("meta/gated", bert.ranker, COMMIT)
    online.gated.add("meta/gated")
    with pytest.raises(CheckpointError, match=r"meta/gated is gated: accept its licence.*hf auth login"):
        _ = Checkpoint("meta/gated").shapes


def test_a_model_that_the_hub_does_not_have_is_named(online):
    with pytest.raises(CheckpointError, match="org/nothing: no such folder here and no such model"):
        _ = Checkpoint("org/nothing").folder


def test_a_model_without_pytorch_weights_says_what_was_looked_for(bert, tmp_path, online):
    folder = copied(bert.ranker, tmp_path / "flax")
    (folder / "model.safetensors").rename(folder / "flax_model.msgpack")
    online.publish("org/flax", folder, COMMIT)
    with pytest.raises(CheckpointError, match="org/flax has none of model.safetensors, .*pytorch_model.bin"):
        _ = Checkpoint("org/flax").files


@pytest.mark.parametrize("layout", ["model.safetensors", "pytorch_model.bin"])
def test_the_weights_of_a_sentence_transformers_further_modules_are_fetched(bert, tmp_path, online, litter, layout):
    folder = copied(bert.ranker, tmp_path / "st")
    modules = json.loads((folder / "modules.json").read_text())
    modules += [{"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
                {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    for name in ("2_Dense", "3_Normalize"):
        (folder / name).mkdir()
        litter(folder / name)
    (folder / "2_Dense" / "config.json").write_text("{}")
    (folder / "2_Dense" / layout).write_bytes(b"dense")
    (folder / "3_Normalize" / "model.safetensors").write_bytes(b"none of a normalisation")
    online.publish("org/st", folder, COMMIT)
    root = Checkpoint("org/st").located.root
    assert {path.name for path in (root / "2_Dense").iterdir()} == {"config.json", layout}
    assert (root / "2_Dense" / layout).read_bytes() == b"dense" and not (root / "3_Normalize").exists()


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_an_adapter_is_fetched_with_its_base(bert, tmp_path, online, litter, monkeypatch, layout):
    online.publish("org/base", litter(copied(bert.base, tmp_path / "base")), COMMIT)
    adapter = lora_adapter(tmp_path / "a", bert.base, targets=["query"], base_name="org/base", layout=layout)
    online.publish("org/adapter", litter(tmp_path / "a"), COMMIT[::-1])
    module = "encoder.layer.0.attention.self.query"
    update = adapter[f"bert.{module}.lora_B.weight"] @ adapter[f"bert.{module}.lora_A.weight"]
    expected = raw(bert.base)[f"bert.{module}.weight"] + 2 * update
    checkpoint = Checkpoint("org/adapter")
    assert (checkpoint.tensor(f"{module}.weight") - expected).abs().max() < 1e-6
    assert checkpoint.located.base.source == "org/base"
    assert not {"training_args.bin", "optimizer.pt"} & set(online.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget_connections()
    assert Checkpoint("org/adapter").fingerprint == checkpoint.fingerprint


def test_a_repository_with_a_model_and_an_adapter_does_not_say_which_is_meant(bert, tmp_path, online):
    folder = copied(bert.base, tmp_path / "both")
    lora_adapter(folder, bert.base, targets=["query"], base_name="org/base")
    online.publish("org/both", folder, COMMIT)
    with pytest.raises(CheckpointError, match=r"the weights of a model \(model\.safetensors\).*Name one of the two"):
        _ = Checkpoint("org/both").shapes
    snapshot = next((tmp_path / "hub").rglob("adapter_model.safetensors")).parent
    assert set(Checkpoint(snapshot / "model.safetensors").raw) == set(raw(bert.base))


def test_an_adapter_of_a_gated_base_says_how_to_get_it(bert, tmp_path, online):
    online.publish("meta/gated", bert.base, COMMIT)
    online.gated.add("meta/gated")
    lora_adapter(tmp_path / "a", bert.base, targets=["query"], base_name="meta/gated")
    with pytest.raises(CheckpointError, match="needs its base model.*meta/gated is gated: accept its licence"):
        _ = Checkpoint(tmp_path / "a").shapes


def test_a_misspelt_path_that_could_be_a_hub_id_is_told_both_ways(online, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "ranker").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="models/rankr: no such folder here and no such model or revision on the"):
        _ = Checkpoint("models/rankr").shapes


def test_a_shard_outside_its_repository_is_never_asked_for(bert, tmp_path, online):
    folder = copied(bert.ranker, tmp_path / "evil")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../other.safetensors"}}))
    online.publish("org/evil", folder, COMMIT)
    with pytest.raises(CheckpointError, match=r"'\.\./\.\./other\.safetensors'.*refused"):
        _ = Checkpoint("org/evil").files
    assert not any("other" in name for name in online.asked)


def test_offline_a_model_outside_the_cache_says_what_to_do(hub):
    with pytest.raises(CheckpointError, match="org/name: no such folder here, not in the hub's cache.*local folder"):
        _ = Checkpoint("org/name").shapes


def test_offline_a_cached_folder_without_weights_is_an_error(bert, hub):
    snapshot = hub_cache(hub, "org/name", bert.ranker, commit=COMMIT)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="org/name has none of model.safetensors"):
        _ = Checkpoint("org/name").shapes


@pytest.mark.parametrize("source", ["../nope", "./missing", "/not/here", "a/b/c", "org/na--me", "https://hub/org/name",
                                    "org/name@", "-name"])
def test_what_is_no_folder_and_no_hub_id_says_so(source, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder"):
        _ = Checkpoint(source).folder
