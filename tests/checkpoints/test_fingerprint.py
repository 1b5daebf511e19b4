"""The sha256 of weights: changes with them, computed once, taken from the hub's cache where it stands there."""

import hashlib
import os

from pyterrier_taskarith._files import file_sha256
from pyterrier_taskarith.checkpoints import Checkpoint
from testing import bert_triple
from tests.checkpoints.by_hand import copied, hub_cache, rewrite, sha256

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


def count_hashing(monkeypatch) -> list[str]:
    """Returns a list that grows with each file that is read to be hashed."""
    hashed, true = [], hashlib.file_digest

    def counting(file, digest):
        hashed.append(file.name)
        return true(file, digest)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return hashed


def test_a_files_hash_is_its_sha256(bert):
    path = bert.ranker / "model.safetensors"
    assert file_sha256(path) == sha256(path) == file_sha256(path)


def test_it_changes_with_any_weight_and_not_with_the_folder(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "copy")
    before = Checkpoint(folder).fingerprint
    assert before == Checkpoint(bert.ranker).fingerprint != Checkpoint(bert.base).fingerprint

    def one_weight(tensors):
        tensors["encoder.layer.1.output.dense.bias"][3] += 1e-3
        return tensors

    rewrite(folder, one_weight)
    os.utime(folder / "model.safetensors", ns=(1, 1))  # clocks tick more slowly than tests run
    assert Checkpoint(folder).fingerprint != before


def test_it_covers_every_shard(tmp_path):
    folder = bert_triple(tmp_path, layout="sharded", shards=3).ranker
    before = Checkpoint(folder).fingerprint
    last = folder / "model-00003-of-00003.safetensors"
    data = bytearray(last.read_bytes())
    data[-1] ^= 1
    last.write_bytes(data)
    os.utime(last, ns=(1, 1))
    assert Checkpoint(folder).fingerprint != before


def test_a_file_is_hashed_once(bert, monkeypatch, own_home):
    hashed = count_hashing(monkeypatch)
    first = Checkpoint(bert.ranker).fingerprint
    assert Checkpoint(bert.ranker).fingerprint == first and len(hashed) == 1
    assert own_home.is_dir() and not list(own_home.rglob("*.tmp"))


def test_a_file_that_changed_is_hashed_again_even_at_the_same_size(bert, tmp_path, monkeypatch):
    hashed = count_hashing(monkeypatch)
    path = copied(bert.ranker, tmp_path / "copy") / "model.safetensors"
    first = file_sha256(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert file_sha256(path) == sha256(path) != first and len(hashed) == 2


def test_a_damaged_memory_is_not_believed(bert, own_home):
    path = bert.ranker / "model.safetensors"
    file_sha256(path)
    for remembered in (path for path in own_home.rglob("*") if path.is_file()):
        remembered.write_text("0")
    assert file_sha256(path) == sha256(path)


def test_a_cache_that_cannot_be_written_costs_only_time(bert, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("TASKARITH_HOME", str(file))
    path = bert.ranker / "model.safetensors"
    assert file_sha256(path) == file_sha256(path) == sha256(path)


def test_the_hubs_name_of_a_blob_is_taken_unread(bert, hub, monkeypatch):
    hub_cache(hub, "org/name", bert.ranker, commit=COMMIT)
    hashed = count_hashing(monkeypatch)
    here = Checkpoint("org/name")
    assert file_sha256(here.folder / "model.safetensors") == sha256(bert.ranker / "model.safetensors")
    assert not hashed
    assert here.fingerprint == Checkpoint(bert.ranker).fingerprint


def test_a_link_to_a_file_that_only_looks_like_a_blob_is_read(bert, tmp_path):
    (tmp_path / "weights").mkdir()
    target = tmp_path / "weights" / ("0" * 64)
    target.write_bytes((bert.ranker / "model.safetensors").read_bytes())
    (tmp_path / "model.safetensors").symlink_to(target)
    assert file_sha256(tmp_path / "model.safetensors") == sha256(target)
