"""`.bin` files from before PyTorch 1.6 cannot be mapped: a pass over one loads it once, not once a portion."""

from collections import Counter
from dataclasses import astuple

import pytest
import torch

from pyterrier_taskarith import Checkpoint, TaskVector
from pyterrier_taskarith.checkpoints import _checkpoint
from testing import bert_triple
from tests.checkpoints.by_hand import same_bits
from tests.reranking import frame, reranker


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A triple in the old format, read as if every tensor filled the memory that a pass may map."""
    monkeypatch.setattr(_checkpoint, "MAPPED_BYTES", 0)
    made = bert_triple(tmp_path / "old", layout="bin")
    for folder in astuple(made):
        path = next(folder.rglob("pytorch_model.bin"))
        torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    return made


@pytest.fixture
def loads(monkeypatch):
    """How often each file was loaded by PyTorch."""
    counted, load = Counter(), torch.load
    monkeypatch.setattr(torch, "load", lambda path, **options: counted.update([path]) or load(path, **options))
    return counted


def test_a_pass_over_the_tensors_loads_the_file_once(old, loads):
    checkpoint = Checkpoint(old.ranker)
    values = {name: checkpoint.tensor(name) for name in checkpoint.shapes}
    assert list(loads.values()) == [1] and len(values) > 20
    checkpoint.close()
    assert all(same_bits(checkpoint.tensor(name), value) for name, value in values.items())
    assert list(loads.values()) == [2]


@pytest.mark.parametrize("weights", ["memory", "disk"])
def test_a_reranker_loads_each_file_a_few_times_however_many_tensors_it_has(old, loads, weights):
    scorer = reranker(old, weights=weights)
    scorer.transform(frame(1, 2))
    assert len(loads) == 3 and max(loads.values()) <= 3
    before = loads.total()
    scorer.set_parameter("alpha", 0.3)
    scorer.transform(frame(1, 2))
    assert loads.total() - before == (3 if weights == "disk" else 0)


@pytest.mark.parametrize("method", ["plain", "trimmed"])
def test_save_loads_each_file_once(old, loads, tmp_path, method):
    vector = TaskVector(old.domain, old.base)
    (Checkpoint(old.ranker) + 0.7 * (vector if method == "plain" else vector.trim(0.2))).save(tmp_path / "out")
    assert len(loads) == 3 and set(loads.values()) == {1}
