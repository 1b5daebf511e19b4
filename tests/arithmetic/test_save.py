"""A saved merge is an ordinary folder: new weights beside everything that was Θ_T's."""

import json

import numpy as np
import pytest
import torch

from pyterrier_taskarith.arithmetic import TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError
from testing import bert_triple, passages, t5_triple
from tests.arithmetic.folders import copy_of, files, state
from tests.arithmetic.reference import Case, merge_of
from tests.checkpoints.by_hand import (
    hub_cache,
    offline_hub,
    parameters,
    raw,
    rewrite_config,
    same_bits,
    sha256,
)


@pytest.mark.parametrize("options", [{}, {"transformer_path": "0_Transformer"}, {"layout": "sharded"},
                                     {"layout": "sharded_bin", "transformer_path": "0_Transformer"},
                                     {"family": "roberta", "normalize": True}, {"family": "distilbert"}], ids=str)
def test_a_saved_bi_encoder_loads_in_sentence_transformers_with_the_merged_weights(tmp_path, options):
    from sentence_transformers import SentenceTransformer

    case = Case(bert_triple(tmp_path / "triple", **options), f"{options.get('family', 'bert')}.")
    folder = merge_of(case.triple).save(tmp_path / "merged")
    transformer = folder / options.get("transformer_path", "")
    case_ranker = parameters(case.triple.ranker / options.get("transformer_path", ""))
    model = SentenceTransformer(str(folder), device="cpu")
    loaded = dict(model[0].auto_model.named_parameters())
    for name, tensor in case_ranker.items():
        expected = torch.add(tensor, case.tau[name], alpha=0.7) if name in case.tau else tensor
        assert same_bits(loaded[name].data, expected), name
    assert [path.name for path in transformer.glob("*.safetensors")] == ["model.safetensors"]
    original = SentenceTransformer(str(case.triple.ranker), device="cpu")
    assert model.max_seq_length == original.max_seq_length and len(model) == len(original)
    with torch.no_grad():
        for name, parameter in original[0].auto_model.named_parameters():
            parameter.copy_(loaded[name])
    np.testing.assert_array_equal(model.encode(passages(4)), original.encode(passages(4)))


@pytest.mark.parametrize("duplicated", [False, True])
@pytest.mark.parametrize("layout", ["safetensors", "bin", "sharded"])
@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_a_saved_t5_loads_in_transformers_with_nothing_missing(tmp_path, kind, layout, duplicated):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    triple = t5_triple(tmp_path / "triple", kind=kind, layout=layout, duplicated=duplicated)
    case = Case(triple, tied_output=kind == "t5")
    folder = merge_of(case.triple).save(tmp_path / "merged")
    model, info = AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    loaded = dict(model.named_parameters())
    assert all(same_bits(loaded[name].data, tensor) for name, tensor in case.merged(0.7).items())
    assert set(raw(folder)) == set(case.ranker)  # a tied matrix is written once, under its own name
    assert torch.equal(model.lm_head.weight, model.shared.weight) == (kind == "t5")
    expected = AutoTokenizer.from_pretrained(case.triple.ranker)(passages(3))["input_ids"]
    assert AutoTokenizer.from_pretrained(folder)(passages(3))["input_ids"] == expected


def test_a_saved_masked_model_keeps_the_names_of_its_file(bert, tmp_path):
    from transformers import AutoModelForMaskedLM

    folder = merge_of(bert.triple, ranker=bert.triple.base).save(tmp_path / "merged")
    assert set(raw(folder)) == set(raw(bert.triple.base))
    _, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]


@pytest.mark.parametrize("options", [{}, {"transformer_path": "0_Transformer"}], ids=str)
def test_companions_are_the_rankers_byte_for_byte(tmp_path, options):
    triple = bert_triple(tmp_path / "triple", **options, normalize=True, prompts={"query": "q: "})
    transformer = triple.ranker / options.get("transformer_path", "")
    rewrite_config(transformer, unknown_to_every_library={"a": [1, None]}, n_positions=512)
    (transformer / "config.json").write_text((transformer / "config.json").read_text().replace(",", " ,\n\n"))
    (triple.ranker / "README.md").write_text("the ranker's own")
    before = files(triple.ranker)
    saved = files(merge_of(triple).save(tmp_path / "merged"))
    weights = str((transformer / "model.safetensors").relative_to(triple.ranker))
    assert set(saved) == {*before, "taskarith.json"}
    assert {name for name in before if saved[name] != before[name]} == {"README.md", weights}
    assert {"modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"} <= set(saved)
    assert files(triple.ranker) == before


def test_the_merged_folder_of_a_hubs_cache_holds_files_not_links(bert, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    with offline_hub(tmp_path / "hub") as cache:
        for role in ("ranker", "domain", "base"):
            hub_cache(cache, f"org/{role}", getattr(bert.triple, role), commit=commit)
        folder = (Checkpoint("org/ranker") + 0.7 * TaskVector("org/domain", "org/base")).save(tmp_path / "merged")
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    expected = files(merge_of(bert.triple).save(tmp_path / "from folders"))
    saved = files(folder)
    assert {name for name in expected if saved[name] != expected[name]} == {"README.md", "taskarith.json"}


def test_unsafe_and_heavy_files_of_the_ranker_are_not_copied(bert, tmp_path):
    triple = copy_of(bert.triple, tmp_path / "triple")
    left = ["training_args.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "optimizer.pt", "scheduler.pth",
            "model.onnx", "pytorch_model.bin", "other.safetensors", "model.safetensors.index.json", "state.pkl",
            "model.ckpt", ".gitattributes", "1_Pooling/training_args.bin"]
    for name in left:
        (triple.ranker / name).write_bytes(b"{}")
    (triple.ranker / "checkpoint-500").mkdir()
    (triple.ranker / "checkpoint-500" / "notes.txt").write_text("not a module")
    kept = ["LICENSE", "merges.txt", "chat_template.jinja", "modeling_own.py", "1_Pooling/more.json"]
    for name in kept:
        (triple.ranker / name).write_text(name)
    saved = files(merge_of(triple).save(tmp_path / "merged"))
    assert not set(left) & set(saved) and set(kept) <= set(saved)
    assert not any(name.startswith("checkpoint-500") for name in saved)


def test_the_weights_of_a_dense_module_are_copied(bert, tmp_path):
    triple = copy_of(bert.triple, tmp_path / "triple")
    dense = triple.ranker / "2_Dense"
    dense.mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "optimizer.pt"):
        (dense / name).write_bytes(name.encode())
    modules = json.loads((triple.ranker / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (triple.ranker / "modules.json").write_text(json.dumps(modules))
    saved = files(merge_of(triple).save(tmp_path / "merged"))
    assert {name for name in saved if name.startswith("2_Dense")} == {
        f"2_Dense/{name}" for name in ("config.json", "model.safetensors", "pytorch_model.bin")}


@pytest.mark.parametrize("path", ["../secret", "1_Pooling/../../secret", "a/../../ranker/1_Pooling", "{root}/secret"])
def test_a_module_outside_the_rankers_folder_is_not_copied(bert, tmp_path, path):
    triple = copy_of(bert.triple, tmp_path / "triple")
    secret = tmp_path / "triple" / "secret"
    secret.mkdir()
    (secret / "key.json").write_text("secret")
    modules = json.loads((triple.ranker / "modules.json").read_text())
    modules[1]["path"] = path.format(root=tmp_path / "triple")
    (triple.ranker / "modules.json").write_text(json.dumps(modules))
    before = state(tmp_path)
    with pytest.raises(CheckpointError, match=r"modules\.json names the folder .*outside .*refused"):
        merge_of(triple).save(tmp_path / "merged")
    assert state(tmp_path).keys() - before.keys() <= {"taskarith-home"}


def test_the_readme_has_recipe_and_the_sha256_of_every_file_read(toxic, tmp_path):
    case = Case(bert_triple(tmp_path / "triple", layout={"domain": "sharded", "base": "bin"}), "bert.")
    bio, other = (TaskVector(made.triple.domain, made.triple.base) for made in (case, toxic))
    path = other.save(tmp_path / "other.safetensors")
    merge = Checkpoint(case.triple.ranker) + (0.1234567891 * bio - 0.5 * other) + 0.25 * TaskVector.load(path)
    card = (merge.save(tmp_path / "merged", dtype="bfloat16") / "README.md").read_text()
    read = [path, *case.triple.ranker.glob("*.safetensors"), *toxic.triple.domain.glob("*.safetensors"),
            *toxic.triple.base.glob("*.safetensors"), *case.triple.domain.glob("*.safetensors"),
            *case.triple.base.glob("*.bin")]
    assert len(read) == 7
    for file in read:
        (line,) = [line for line in card.splitlines() if sha256(file) in line]
        assert f"| {file.name} |" in line and (str(file.parent) in line or str(file) in line)
    assert "0.1234567891·" in card and "− 0.5·" in card and "Output dtype: bfloat16" in card
    assert merge.plan.summary() in card and f"torch {torch.__version__}" in card


@pytest.mark.parametrize(("before", "after"), [
    ({"torch_dtype": "float32", "dtype": None}, {"torch_dtype": "bfloat16"}),
    ({"torch_dtype": None, "dtype": "float32"}, {"dtype": "bfloat16"}),
    ({"torch_dtype": "float32", "dtype": "float32"}, {"torch_dtype": "bfloat16", "dtype": "bfloat16"}),
    ({"torch_dtype": None, "dtype": None}, {"torch_dtype": "bfloat16"}),
])
def test_another_dtype_is_stated_in_the_config_and_nothing_else_changes_there(bert, tmp_path, before, after):
    from transformers import AutoModel

    triple = copy_of(bert.triple, tmp_path / "triple")
    rewrite_config(triple.ranker, **before, label="Größe", unknown=[1])
    config = json.loads((triple.ranker / "config.json").read_text())
    folder = merge_of(triple).save(tmp_path / "merged", dtype="bfloat16")
    assert json.loads((folder / "config.json").read_text()) == config | after
    assert AutoModel.from_pretrained(folder, dtype="auto").dtype == torch.bfloat16
    stored = raw(folder)
    assert stored["embeddings.position_ids"].dtype == torch.int64
    assert {tensor.dtype for name, tensor in stored.items() if "position_ids" not in name} == {torch.bfloat16}


def test_a_ranker_named_by_its_file_is_saved_as_a_folder(bert, tmp_path):
    folder = merge_of(bert.triple, ranker=bert.triple.ranker / "model.safetensors").save(str(tmp_path / "a" / "merged"))
    expected = files(merge_of(bert.triple).save(tmp_path / "from the folder"))
    differ = {name for name, content in files(folder).items() if content != expected[name]}
    assert differ == {"README.md", "taskarith.json"}


def test_the_header_states_pytorchs_format_and_the_data_start_aligned(bert, tmp_path):
    path = merge_of(bert.triple).save(tmp_path / "merged") / "model.safetensors"
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8:8 + size])
    assert (8 + size) % 4096 == 0 and header.pop("__metadata__") == {"format": "pt"}
    ends = [0, *(entry["data_offsets"][1] for entry in header.values())]
    assert [entry["data_offsets"][0] for entry in header.values()] == ends[:-1]
    assert path.stat().st_size == 8 + size + ends[-1]
