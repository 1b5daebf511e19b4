"""Safetensors headers: what is refused, and where each tensor lies."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pyterrier_taskarith.checkpoints import Checkpoint, TensorLocation
from pyterrier_taskarith.checkpoints._readers import SafetensorsFile
from pyterrier_taskarith.errors import CheckpointError
from testing import bert_triple
from tests.checkpoints.by_hand import raw, same_bits


def written(path, header, data=b"", length=None):
    """Writes a file with this header (an object, or its text) and these bytes after it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    """One tensor of a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_a_location_is_where_the_bytes_of_a_parameter_lie(tmp_path):
    made = bert_triple(tmp_path, layout="sharded", shards=3, dtype=torch.bfloat16, duplicated=True, position_ids=True)
    checkpoint = Checkpoint(made.ranker)
    paths = set()
    for name, tensor in raw(made.ranker).items():
        if name == "embeddings.position_ids":
            continue
        location = checkpoint.location(name)
        assert (location.dtype, location.shape, location.nbytes) == (tensor.dtype, tuple(tensor.shape), tensor.nbytes)
        held = location.path.read_bytes()[location.offset:location.offset + location.nbytes]
        assert held == tensor.contiguous().view(torch.uint8).numpy().tobytes(), name
        paths.add(location.path)
    assert len(paths) == 3
    file = checkpoint.raw["embeddings.position_ids"]
    assert file.location("embeddings.position_ids").dtype == torch.int64
    with pytest.raises(KeyError):
        checkpoint.location("nothing")


def test_a_bin_file_tells_no_locations(tmp_path):
    made = bert_triple(tmp_path, layout="bin")
    checkpoint = Checkpoint(made.ranker)
    assert all(checkpoint.location(name) is None for name in checkpoint.shapes)
    assert checkpoint.stored_dtype("pooler.dense.bias") == torch.float32


def test_a_tied_matrix_with_two_values_has_no_location(tmp_path):
    folder = bert_triple(tmp_path, duplicated=True).base
    tensors = {name: tensor.clone() for name, tensor in raw(folder).items()}
    tensors["cls.predictions.decoder.weight"] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="different values"):
        Checkpoint(folder).location("embeddings.word_embeddings.weight")


def test_a_valid_header_is_read_as_the_library_reads_it(tmp_path):
    tensors = {"b": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3), "a": torch.randn(3, 0, 2),
               "c": torch.tensor(3), "d": torch.randn(4).half(), "e": torch.tensor([True, False])}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt", "note": "ü"})
    file = SafetensorsFile(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", framework="pt") as theirs:
        assert set(file.shapes()) == set(theirs.keys()) and file.metadata() == theirs.metadata()
        assert list(file.shapes()) == list(theirs.offset_keys())
        for name in theirs.keys():
            assert file.shapes()[name] == tuple(theirs.get_slice(name).get_shape())
            assert same_bits(file.tensor(name), theirs.get_tensor(name)) and same_bits(file.tensor(name), tensors[name])
            assert isinstance(file.location(name), TensorLocation)


def test_tensors_that_lie_between_two_elements_are_read(tmp_path):
    value = torch.tensor([1.5, -2.0])
    path = written(tmp_path / "odd.safetensors", {"a": entry("U8", (1,), (0, 1)), "b": entry("F32", (2,), (1, 9)),
                                                  "c": entry("F32", (0,), (9, 9))}, b"\x07" + value.numpy().tobytes())
    file = SafetensorsFile(path)
    assert same_bits(file.tensor("b"), value) and file.tensor("b").data_ptr() % 4 == 0
    assert file.tensor("a").tolist() == [7] and file.tensor("c").shape == (0,)


@pytest.mark.parametrize("shift", range(4))
def test_tensors_are_read_wherever_the_header_ends(tmp_path, shift):
    value = torch.tensor([1.5, -2.0])
    text = json.dumps({"a": entry()}).encode() + b" " * shift
    file = SafetensorsFile(written(tmp_path / "odd.safetensors", text, value.numpy().tobytes()))
    assert same_bits(file.tensor("a"), value) and file.tensor("a").data_ptr() % 4 == 0


BAD = {
    "no object": (b"[]", b"", "header"),
    "not utf-8": (b'{"\xff": 1}', b"", "header"),
    "half a surrogate pair": (b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8),
                              "header"),
    "cut off": (b'{"a": {"dtype"', b"", "header"),
    "deep": (b'{"a":' + b"[" * 200_000, b"", "header"),
    "long number": (b'{"a": ' + b"9" * 10_000 + b"}", b"", "header"),
    "infinity": (b'{"a": Infinity}', b"", "header"),
    "the same name twice": (
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8), "the name 'a' is there twice"),
    "an entry that is a list": ({"a": ["F32", [2], [0, 8]]}, bytes(8), "tensor 'a' needs dtype"),
    "the same key twice": (b'{"a": {"dtype": "F32", "shape": [2], "shape": [1], "data_offsets": [0, 8]}}', bytes(8),
                           "duplicate field `shape`"),
    "no entry": ({"a": 3}, b"", "invalid type: integer `3`"),
    "half an entry": ({"a": {"dtype": "F32", "shape": [2]}}, b"", "missing field `data_offsets`"),
    "invalid type": ({"a": entry("F31")}, bytes(8), "unknown variant `F31`"),
    "dtype that is a list": ({"a": entry(["F32"])}, bytes(8), "invalid type"),
    "negative offset": ({"a": entry(offsets=(-8, 0))}, bytes(8), "invalid|overflow"),
    "negative shape": ({"a": entry(shape=(-1, -2))}, bytes(8), "invalid|overflow"),
    "fraction": ({"a": entry(shape=(2.0,))}, bytes(8), "invalid|overflow"),
    "true": ({"a": entry(shape=(True, 2))}, bytes(8), "invalid|overflow"),
    "three offsets": ({"a": entry(offsets=(0, 8, 8))}, bytes(8), "invalid|overflow"),
    "backwards": ({"a": entry(shape=(0,), offsets=(8, 0))}, bytes(8), "invalid offset for tensor `a`"),
    "shape too large": ({"a": entry(shape=(3,))}, bytes(8), "invalid shape, data type, or offset"),
    "dtype too small": ({"a": entry("F16")}, bytes(8), "invalid shape, data type, or offset"),
    "100 GB": ({"a": entry(shape=(25_000_000_000,), offsets=(0, 100_000_000_000))}, bytes(8),
               "not fully covered"),
    "more than 64 bits": ({"a": entry(shape=(2**40, 2**40), offsets=(0, 2**62))}, bytes(8), "invalid|overflow"),
    "empty but huge": ({"a": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}, b"", "'a' has a shape that PyTorch"),
    "many dimensions": ({"a": entry(shape=(1,) * 100, offsets=(0, 4))}, bytes(4), "'a' has a shape that PyTorch"),
    "beyond the end": ({"a": entry(), "b": entry(offsets=(8, 16))}, bytes(8), "not fully covered"),
    "bytes left over": ({"a": entry()}, bytes(12), "not fully covered"),
    "overlap": ({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12), "invalid offset for tensor `b`"),
    "hole": ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), "invalid offset for tensor `b`"),
    "metadata of numbers": ({"__metadata__": {"a": 1}, "a": entry()}, bytes(8), "invalid type"),
    "metadata that is a list": ({"__metadata__": [], "a": entry()}, bytes(8), "invalid type"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_header_that_does_not_add_up_is_an_error_that_names_the_file(tmp_path, name):
    header, data, message = BAD[name]
    path = written(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(CheckpointError, match=rf"bad\.safetensors cannot be read as safetensors: .*{message}"):
        SafetensorsFile(path).shapes()


@pytest.mark.parametrize("content", [b"", b"1234567", struct.pack("<Q", 5) + b"{}", struct.pack("<Q", 2**63) + b"{}",
                                     struct.pack("<Q", 10**11) + b"{}"])
def test_a_length_that_the_file_does_not_have_is_an_error(tmp_path, content):
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors cannot be read as safetensors.*Is the download"):
        SafetensorsFile(tmp_path / "bad.safetensors").shapes()


def test_a_header_longer_than_the_format_allows_is_refused_unread(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "bad.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(300_000_000)  # a hole: it takes no disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="header too large"):
        SafetensorsFile(path).shapes()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_a_git_lfs_pointer_is_called_one(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n")
    with pytest.raises(CheckpointError, match="is a git-lfs pointer, not the weights. Run `git lfs pull`"):
        SafetensorsFile(tmp_path / "m.safetensors").shapes()


@pytest.mark.parametrize(("code", "nbytes"), [("F8_E4M3", 2), ("F8_E5M2", 2), ("F4", 1), ("U32", 8), ("C64", 16)])
def test_types_that_no_merge_can_use_are_named_when_they_are_read(tmp_path, code, nbytes):
    path = written(tmp_path / "m.safetensors", {"a": entry(code, (2,), (0, nbytes))}, bytes(nbytes))
    file = SafetensorsFile(path)
    assert file.shapes() == {"a": (2,)}
    for read in (file.dtype, file.tensor, file.location):
        with pytest.raises(CheckpointError, match=f"'a' is stored as {code}, which no merge can use"):
            read("a")
