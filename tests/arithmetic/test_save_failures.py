"""A merge is saved whole or not at all, and never over what is there."""

import errno
import os
import resource
import shutil
from pathlib import Path

import pytest

from pyterrier_taskarith.arithmetic import MergeError
from pyterrier_taskarith.arithmetic.save import _merge
from tests.arithmetic.folders import copy_of, files, filled, reorder_tokens, state, tokens_of
from tests.arithmetic.reference import Case, merge_of
from tests.checkpoints.by_hand import copied, parameters, same_bits


def differing_weights(folder: Path, case: Case) -> list[str]:
    expected = case.merged(0.7)
    return [name for name, tensor in parameters(folder).items() if not same_bits(tensor, expected[name])]


@pytest.mark.parametrize("there", ["a file in it", "a file", "a link"])
def test_a_target_that_exists_is_left_untouched(bert, tmp_path, there):
    target = tmp_path / "target"
    if there == "a file":
        target.write_text("mine")
    else:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "notes.txt").write_text("mine")
        target.symlink_to(tmp_path / "real") if there == "a link" else shutil.copytree(tmp_path / "real", target)
    before = state(tmp_path)
    with pytest.raises(MergeError, match="target exists and is not empty; choose another folder or remove it"):
        merge_of(bert.triple).save(target)
    assert state(tmp_path) == before


def test_an_empty_folder_is_filled(bert, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "config.json" in files(merge_of(bert.triple).save(tmp_path / "empty"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "taskarith-home"]


@pytest.mark.parametrize("dtype", ["float64", "fp16", "int8", ""])
def test_an_unknown_dtype_is_refused_before_anything_is_written(bert, tmp_path, dtype):
    with pytest.raises(MergeError, match="choose one of float32, float16, bfloat16, or None"):
        merge_of(bert.triple).save(tmp_path / "merged", dtype=dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("after", [1, 25, 60])
def test_a_failed_read_leaves_nothing_behind(bert, tmp_path, monkeypatch, after):
    true, calls = os.preadv, []

    def failing(*given):
        calls.append(given)
        if len(calls) == after:
            raise OSError(errno.EIO, "disk gone")
        return true(*given)

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(OSError, match="disk gone"):
        merge_of(bert.triple).save(tmp_path / "merged")
    assert len(calls) >= after and not list(tmp_path.iterdir())


def test_a_file_that_grows_too_large_leaves_nothing_behind(bert, tmp_path):
    weights = (bert.triple.ranker / "model.safetensors").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (weights // 2, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            merge_of(bert.triple).save(tmp_path / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    assert merge_of(bert.triple).save(tmp_path / "merged").is_dir()


@pytest.mark.parametrize(("module", "call"), [(os, "fsync"), (shutil, "copyfile"), (_merge, "model_card")])
def test_a_full_disk_at_any_step_leaves_nothing_behind(bert, tmp_path, monkeypatch, module, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, call, full)
    with pytest.raises(OSError, match="No space left"):
        merge_of(bert.triple).save(tmp_path / "merged")
    assert {path.name for path in tmp_path.iterdir()} <= {"taskarith-home"}  # hashes of the inputs stay true


@pytest.mark.parametrize("there", [("preadv", "pread", "pwrite", "posix_fallocate"), ("posix_fallocate",)])
def test_a_system_without_these_calls_saves_the_same(bert, tmp_path, monkeypatch, there):
    for name in there:
        monkeypatch.delattr(os, name)
    assert not differing_weights(merge_of(bert.triple).save(tmp_path / "merged"), bert)


@pytest.mark.parametrize(("alpha", "dtype"), [(0.0, "float16"), (1e38, None)])
def test_a_weight_that_the_output_dtype_cannot_hold_is_refused(bert, tmp_path, alpha, dtype):
    triple = copy_of(bert.triple, tmp_path / "triple")
    name = "encoder.layer.0.output.dense.weight"
    filled(triple.ranker, name, 1e5, 1)
    filled(triple.domain, name, 1e5, 1)
    with pytest.raises(MergeError, match=rf"{name if not alpha else 'Θ'}.* that float(16|32) cannot hold"):
        merge_of(triple, alpha).save(tmp_path / "merged", dtype=dtype)
    assert not (tmp_path / "merged").exists()
    assert merge_of(triple, 0.5).save(tmp_path / "merged", dtype="bfloat16")


def test_nothing_is_written_where_the_plan_fails(bert, tmp_path):
    triple = copy_of(bert.triple, tmp_path / "triple")
    tokens = tokens_of(triple.ranker)
    reorder_tokens(triple.ranker, [*tokens[:9], tokens[10], tokens[9], *tokens[11:]])
    with pytest.raises(ValueError, match="disagree"):
        merge_of(triple).save(tmp_path / "deep" / "merged")
    assert not (tmp_path / "deep").exists()


def test_the_output_may_lie_inside_the_rankers_folder(bert, tmp_path):
    ranker = copied(bert.triple.ranker, tmp_path / "ranker")
    folder = merge_of(bert.triple, ranker=ranker).save(ranker / "merged")
    assert not differing_weights(folder, bert) and not (folder / "merged").exists()
