"""Reading and fingerprinting weights needs nothing that only POSIX systems have."""

import os

import pytest

from pyterrier_taskarith.checkpoints import Checkpoint
from testing import bert_triple, lora_adapter

POSIX_ONLY = ("pread", "preadv", "pwrite", "pwritev", "sysconf", "O_DIRECTORY", "O_CLOEXEC", "sendfile")


@pytest.mark.parametrize("layout", ["safetensors", "sharded", "bin", "sharded_bin"])
def test_weights_are_read_without_the_calls_of_posix(tmp_path, monkeypatch, layout):
    made = bert_triple(tmp_path, layout=layout)
    lora_adapter(tmp_path / "a", made.base, targets=["query"])
    expected = {name: tensor.clone() for name, tensor in _tensors(tmp_path / "a").items()}
    for name in POSIX_ONLY:
        monkeypatch.delattr(os, name, raising=False)
    assert all(expected[name].equal(tensor) for name, tensor in _tensors(tmp_path / "a").items())
    assert Checkpoint(made.ranker).fingerprint == Checkpoint(made.ranker).fingerprint


def _tensors(folder):
    checkpoint = Checkpoint(folder)
    return {name: checkpoint.tensor(name) for name in checkpoint.shapes}
