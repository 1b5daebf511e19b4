"""What is saved is what the merge gives on whole tensors, to the last bit, whatever is added and however it is read."""

import math

import pytest
import torch

from pyterrier_taskarith.arithmetic import Merge, TaskVector, stream
from pyterrier_taskarith.arithmetic._pieces import PIECE
from pyterrier_taskarith.arithmetic.save import _writer
from pyterrier_taskarith.checkpoints import Checkpoint
from tests.arithmetic.folders import copy_of, reorder_tokens, tokens_of
from tests.arithmetic.reference import merge_of
from tests.checkpoints.by_hand import parameters, raw, same_bits

DTYPES = [None, "float32", "float16", "bfloat16"]


def differing(merge: Merge, folder, dtype: str | None) -> list[str]:
    saved = Checkpoint(folder)
    return [name for name in merge.ranker.shapes if not same_bits(
        saved.tensor(name), merge.tensor(name).to(getattr(torch, dtype) if dtype else merge.ranker.dtype(name)))]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_family_and_layout_is_saved_as_it_is_computed_whole(case, tmp_path, dtype):
    merge = merge_of(case.triple, 0.7)
    assert not differing(merge, merge.save(tmp_path / "merged", dtype=dtype), dtype)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_vocabularies_of_different_size_are_saved_row_by_row(bert, tmp_path, dtype, monkeypatch):
    triple = copy_of(bert.triple, tmp_path / "triple")
    tokens = tokens_of(triple.ranker)
    reorder_tokens(triple.ranker, [*tokens, "[ours]", "[more]"])
    reorder_tokens(triple.domain, [*tokens[:50], "[theirs]", *tokens[50:]])
    for width in (PIECE, 100):  # cuts fall inside runs of neighbours too
        monkeypatch.setattr("pyterrier_taskarith.arithmetic._pieces.PIECE", width)
        merge = merge_of(triple, 0.7)
        assert not differing(merge, merge.save(tmp_path / str(width), dtype=dtype), dtype)
        name = "embeddings.word_embeddings.weight"
        assert same_bits(raw(tmp_path / str(width))[name][-2:].float().to(torch.bfloat16),
                         parameters(triple.ranker)[name][-2:].to(torch.bfloat16))


@pytest.mark.parametrize("make", [
    lambda bio, other: 0.7 * bio - 0.3 * other,
    lambda bio, other: 0.7 * bio.layers("0") + 0.2 * other.layers("embeddings"),
    lambda bio, other: 0.7 * bio.trim(0.2),
    lambda bio, other: 0.7 * bio.trim(0.2) + 0.5 * other,
], ids=["two vectors", "layers", "trimmed", "trimmed and plain"])
def test_sums_layers_and_methods_are_saved_as_they_are_computed_whole(bert, bio, other, tmp_path, make):
    merge = Checkpoint(bert.triple.ranker) + make(bio, other)
    assert not differing(merge, merge.save(tmp_path / "merged", dtype="float32"), "float32")


def test_a_saved_vector_is_added_as_it_is(bert, bio, tmp_path):
    merge = Checkpoint(bert.triple.ranker) + 0.7 * TaskVector.load(bio.save(tmp_path / "bio.safetensors"))
    assert not differing(merge, merge.save(tmp_path / "merged"), None)


def test_plain_merges_never_read_a_tensor_whole(bert, tmp_path, monkeypatch):
    merge, read = merge_of(bert.triple), []
    monkeypatch.setattr(_writer, "_checked", lambda merge, tensor: read.append(tensor.name))
    true = Checkpoint.tensor
    monkeypatch.setattr(Checkpoint, "tensor", lambda self, name: read.append(name) or true(self, name))
    merge.save(tmp_path / "merged")
    # One of the smallest, to see that τ is not zero.
    smallest = min(math.prod(shape) for shape in merge.ranker.shapes.values())
    assert len(read) == 2 and {math.prod(merge.ranker.shapes[name]) for name in read} == {smallest}


def test_loaded_parameters_are_streamed_with_the_same_bits(case):
    merge = merge_of(case.triple, 0.7)
    for dtype in (torch.float32, torch.bfloat16):
        live = {name: torch.full(shape, 9.0, dtype=dtype) for name, shape in merge.ranker.shapes.items()}
        assert stream(merge.ranker, live, merge.steps) == []
        assert all(same_bits(tensor, merge.tensor(name).to(dtype)) for name, tensor in live.items())


def test_streaming_says_what_it_cannot_set(bert, bio):
    merge = Checkpoint(bert.triple.ranker) + 0.7 * bio.trim(0.2)
    live = {name: torch.empty(shape) for name, shape in merge.ranker.shapes.items()}
    assert set(stream(merge.ranker, live, merge.steps)) == {name for name in live if merge.steps(name)}
    live["embeddings.word_embeddings.weight"] = torch.empty(3, 4)
    assert "embeddings.word_embeddings.weight" in stream(merge.ranker, live)
