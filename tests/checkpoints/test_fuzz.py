"""Whatever bytes a weight file, index or configuration has: the right tensors or a CheckpointError, nothing else."""

import json
import pickle
import struct
import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from safetensors.torch import load, save

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.checkpoints._readers import BinFile, SafetensorsFile, open_weights
from pyterrier_taskarith.errors import CheckpointError
from testing import lora_adapter
from tests.checkpoints.by_hand import copied, same_bits

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")
FUZZ = settings(derandomize=True, deadline=None, database=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
TENSORS = {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16),
           "c": torch.tensor([1, 2])}
GOOD = save(TENSORS, metadata={"format": "pt"})



def fuzzed(*strategies, examples=(), few=20, many=300):
    """Makes two tests of a check: with a few inputs, and, among the slow tests, with many."""
    def decorate(check):
        def test(count):
            given_check = given(*strategies)(check)
            for content in examples:
                given_check = example(content)(given_check)
            return settings(FUZZ, max_examples=count)(given_check)

        globals()[f"{check.__name__}_many_times"] = pytest.mark.slow(test(many))
        return test(few)
    return decorate


numbers = st.one_of(st.integers(-2, 40), st.integers(-2**70, 2**70), st.floats(), st.booleans())
json_values = st.recursive(st.one_of(st.none(), numbers, st.text(max_size=4)), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)), max_leaves=6)
shapes = st.one_of(st.lists(st.integers(0, 4), max_size=3), st.lists(numbers, max_size=3), json_values)
entries = st.one_of(json_values, st.fixed_dictionaries({
    "dtype": st.one_of(st.sampled_from(["F32", "BF16", "I64", "BOOL", "F8_E4M3", "F4", "X"]), json_values),
    "shape": shapes, "data_offsets": st.one_of(st.tuples(st.integers(0, 24), st.integers(0, 24)), json_values)}))
headers = st.dictionaries(st.one_of(st.text(max_size=3), st.just("__metadata__")), entries, max_size=3)


def right_or_refused(path: Path, content: bytes) -> bool:
    """Asserts that a file is refused or gives what the safetensors library gives; returns which."""
    path.write_bytes(content)
    file = SafetensorsFile(path)
    tracemalloc.start()
    try:
        held = {name: file.tensor(name) for name in file.shapes()}
        locations = {name: file.location(name) for name in held}
    except CheckpointError as error:
        assert path.name in str(error)
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        file.close()
        assert peak < 1_000_000 + 50 * len(content)
    expected = load(content)
    assert held.keys() == expected.keys()
    for name, tensor in expected.items():
        assert same_bits(held[name], tensor)
        location = locations[name]
        data = content[location.offset:location.offset + location.nbytes]
        assert data == tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return True


@fuzzed(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(
    lambda text: struct.pack("<Q", len(text)) + text)), examples=[GOOD])
def test_any_bytes_as_safetensors(tmp_path, content):
    assert right_or_refused(tmp_path / "m.safetensors", content) or content != GOOD


@fuzzed(headers, st.binary(max_size=40), st.integers(-3, 3))
def test_any_header_as_safetensors(tmp_path, header, data, shift):
    text = json.dumps(header).encode()
    right_or_refused(tmp_path / "m.safetensors", struct.pack("<Q", max(0, len(text) + shift)) + text + data)


@fuzzed(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(GOOD)),
       st.binary(max_size=3))
def test_a_good_safetensors_file_with_some_bytes_changed(tmp_path, changes, keep, more):
    content = bytearray(GOOD)
    for place, byte in changes:
        content[place] = byte
    right_or_refused(tmp_path / "m.safetensors", bytes(content) + more if keep % 2 else bytes(content[:keep]))


@pytest.fixture(scope="module")
def bin_bytes(tmp_path_factory):
    """Two `.bin` files of the same tensors: a zip, and one from before PyTorch 1.6."""
    folder, made = tmp_path_factory.mktemp("bin"), []
    for zipped in (True, False):
        torch.save(TENSORS, folder / "m.bin", _use_new_zipfile_serialization=zipped)
        made.append((folder / "m.bin").read_bytes())
    return made


@fuzzed(st.integers(0, 1), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1))
def test_a_good_bin_file_with_some_bytes_changed(tmp_path, bin_bytes, which, changes, keep):
    content = bytearray(bin_bytes[which])
    for place, byte in changes:
        content[int(place * (len(content) - 1))] = byte
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(bytes(content) if changes else bytes(content[:int(keep * len(content))]))
    file = BinFile(path)
    try:
        for name in file.shapes():
            assert file.tensor(name).shape == file.shapes()[name]
            file.tensor(name).float().sum()
    except CheckpointError as error:
        assert path.name in str(error)


@fuzzed(st.one_of(st.binary(max_size=80), json_values.map(lambda value: pickle.dumps(value, protocol=2))))
def test_any_bytes_as_bin(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    try:
        BinFile(path).shapes()
    except CheckpointError as error:
        assert path.name in str(error)


names = st.one_of(st.sampled_from(["a", "b", "c"]), st.text(max_size=2))
places = st.one_of(st.sampled_from(["1.safetensors", "2.safetensors", "../1.safetensors", "x.bin"]), json_values)
indexes = st.one_of(json_values, st.dictionaries(names, places, max_size=4).map(lambda found: {"weight_map": found}))


@fuzzed(st.one_of(indexes.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)), examples=[
    json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"}}).encode(),
    b'{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors", "a": "2.safetensors"}}'])
def test_any_index(tmp_path, content):
    (tmp_path / "1.safetensors").write_bytes(save({"a": TENSORS["a"]}))
    (tmp_path / "2.safetensors").write_bytes(save({"b": TENSORS["b"], "c": TENSORS["c"]}))
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    try:
        held = {name: file.tensor(name) for file in open_weights(tmp_path) for name in file.shapes()}
    except CheckpointError as error:
        assert str(tmp_path) in str(error)
        return
    listed = json.loads(content)["weight_map"]
    assert held.keys() == listed.keys() and all(same_bits(held[name], TENSORS[name]) for name in held)


@fuzzed(st.one_of(st.binary(max_size=30), json_values.map(lambda value: json.dumps(value).encode()),
                 st.dictionaries(st.sampled_from(["model_type", "auto_map", "quantization_config"]), json_values).map(
                     lambda value: json.dumps(value).encode())))
def test_any_config(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    try:
        assert Checkpoint(tmp_path).config["model_type"]
    except CheckpointError as error:
        assert str(tmp_path) in str(error)


KEYS = ["peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "modules_to_save", "use_dora", "use_rslora",
        "trainable_token_indices", "init_lora_weights", "task_type", "fan_in_fan_out", "revision", "more"]


@fuzzed(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3))
def test_any_setting_of_an_adapter(bert, tmp_path, changed):
    if not (tmp_path / "a").exists():
        lora_adapter(tmp_path / "a", bert.base, targets=["query"])
        copied(tmp_path / "a", tmp_path / "b")
    about = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    (tmp_path / "b" / "adapter_config.json").write_text(json.dumps(about | changed))
    try:
        assert Checkpoint(tmp_path / "b").shapes == Checkpoint(bert.base).shapes
    except CheckpointError as error:
        assert str(tmp_path) in str(error)
