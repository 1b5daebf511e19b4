"""Large models are saved as shards, as transformers writes them; the file with a size is never larger than asked."""

import json

import pytest
import torch

from pyterrier_taskarith.arithmetic import MergeError
from pyterrier_taskarith.arithmetic.save._merge import in_bytes, save_merge
from pyterrier_taskarith.checkpoints import Checkpoint
from tests.arithmetic.folders import files
from tests.arithmetic.reference import merge_of
from tests.checkpoints.by_hand import raw, same_bits


@pytest.fixture
def whole(bert, tmp_path):
    return merge_of(bert.triple).save(tmp_path / "whole")


def test_shards_hold_the_same_weights_and_an_index_says_where(bert, whole, tmp_path):
    folder = save_merge(merge_of(bert.triple), tmp_path / "merged", shard_size=20_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    expected, saved = raw(whole), raw(folder)
    assert set(expected) == set(saved)
    assert all(same_bits(saved[name], expected[name]) for name in expected)
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(shards) > 3
    assert shards == [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in expected.values())
    assert {name: file.path.name for name, file in Checkpoint(folder).raw.items()} == index["weight_map"]
    alone = {name for name, tensor in expected.items() if tensor.nbytes > 20_000}
    for shard in shards:
        held = [name for name, place in index["weight_map"].items() if place == shard]
        assert sum(expected[name].nbytes for name in held) <= 20_000 or set(held) <= alone


def test_a_sharded_folder_loads_in_transformers(bert, whole, tmp_path):
    from transformers import AutoModel

    folder = save_merge(merge_of(bert.triple), tmp_path / "merged", shard_size="20KB")
    loaded, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    expected = AutoModel.from_pretrained(whole).state_dict()
    assert all(same_bits(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_a_model_that_fits_is_one_file_without_an_index(whole):
    assert [name for name in files(whole) if "safetensors" in name] == ["model.safetensors"]


def test_a_sharded_ranker_is_saved_as_one_file(made, tmp_path):
    folder = merge_of(made("t5-sharded").triple).save(tmp_path / "merged")
    assert [name for name in files(folder) if "safetensors" in name] == ["model.safetensors"]


def test_every_tensor_starts_where_its_elements_are_aligned(bert, tmp_path):
    folder = save_merge(merge_of(bert.triple), tmp_path / "merged", dtype="bfloat16")
    header = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    entries = json.loads(header[8:8 + size])
    widths = {"I64": 8, "F32": 4, "BF16": 2}
    del entries["__metadata__"]
    assert {entry["dtype"] for entry in entries.values()} == {"I64", "BF16"}
    assert all((8 + size + entry["data_offsets"][0]) % widths[entry["dtype"]] == 0 for entry in entries.values())


@pytest.mark.parametrize(("text", "size"), [(7, 7), ("7", 7), ("5GB", 5 * 10**9), ("5 gb", 5 * 10**9),
                                            ("1.5MiB", 3 * 2**19), ("200KB", 200_000), ("1GiB", 2**30)])
def test_sizes_are_read_as_transformers_reads_them(text, size):
    assert in_bytes(text) == size


@pytest.mark.parametrize("size", [0, -1, "0GB", "GB", "5TB", "five", "", 1.5, True, "-1GB"])
def test_a_size_that_is_none_is_refused_before_anything_is_written(bert, tmp_path, size):
    with pytest.raises(MergeError, match="shard_size=.*'5GB'"):
        save_merge(merge_of(bert.triple), tmp_path / "merged", shard_size=size)
    assert not list(tmp_path.iterdir())


def test_kept_buffers_and_bfloat16_survive_sharding(made, tmp_path):
    case = made("bert-bfloat16")
    folder = save_merge(merge_of(case.triple, 0), tmp_path / "merged", shard_size=5_000)
    stored = raw(case.triple.ranker)
    assert all(same_bits(tensor, stored[name]) for name, tensor in raw(folder).items())
    assert {tensor.dtype for tensor in raw(folder).values()} == {torch.bfloat16}
