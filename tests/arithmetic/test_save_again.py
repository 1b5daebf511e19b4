"""A folder knows what it was made from: the same merge finds it, any other leaves it alone."""

import json
import logging
import os
import shutil

import pytest

from pyterrier_taskarith.arithmetic import MergeError, TaskVector
from pyterrier_taskarith.arithmetic.save._merge import save_merge
from pyterrier_taskarith.checkpoints import Checkpoint
from tests.arithmetic.folders import changed, copy_of, files, state
from tests.arithmetic.reference import merge_of
from tests.checkpoints.by_hand import hub_cache, offline_hub, same_bits, sha256

BIAS = "encoder.layer.0.output.dense.bias"


@pytest.fixture
def triple(bert, tmp_path):
    return copy_of(bert.triple, tmp_path / "triple")


@pytest.fixture
def merged(triple, tmp_path):
    return merge_of(triple).save(tmp_path / "merged")


def test_the_same_merge_finds_its_folder_and_does_nothing(triple, merged, caplog):
    before = state(merged)
    with caplog.at_level(logging.INFO, "pyterrier_taskarith"):
        assert merge_of(triple).save(merged) == merged
    assert state(merged) == before and "holds this merge already" in caplog.text


def test_the_same_merge_is_found_where_no_hash_is_remembered(triple, merged, tmp_path):
    shutil.rmtree(tmp_path / "taskarith-home")
    before = state(merged)
    merge_of(triple).save(merged)
    assert state(merged) == before


@pytest.mark.parametrize("spelling", ["relative", "a link", "a copy", "with dots"])
@pytest.mark.parametrize("make", [lambda v: v, lambda v: TaskVector.ties(v.trim(0.5), -v, density=0.5)],
                         ids=["plain", "ties"])
def test_the_same_weights_under_another_path_are_the_same_merge(triple, tmp_path, monkeypatch, spelling, make):
    def merge(folder):
        vector = make(TaskVector(f"{folder}/domain", f"{folder}/base"))
        return Checkpoint(f"{folder}/ranker") + 0.7 * vector

    folder = merge(tmp_path / "triple").save(tmp_path / "merged")
    before = state(folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "triple")
    copy_of(triple, tmp_path / "copied")
    merge({"relative": "triple", "a link": "link", "a copy": "copied", "with dots": "link/../triple"}[spelling]
          ).save(folder)
    assert state(folder) == before


def test_a_hub_id_and_its_cache_folder_are_the_same_merge(bert, tmp_path):
    triple = bert.triple
    with offline_hub(tmp_path / "hub") as cache:
        snapshot = hub_cache(cache, "org/domain", triple.domain, commit="c" * 40)
        merged = (Checkpoint(triple.ranker) + 0.7 * TaskVector("org/domain", triple.base)).save(tmp_path / "merged")
    before = state(merged)
    (Checkpoint(triple.ranker) + 0.7 * TaskVector(snapshot, triple.base)).save(merged)
    assert state(merged) == before


def test_other_vectors_of_the_same_models_are_another_merge(triple, merged):
    vector = TaskVector(triple.domain, triple.base)
    for other in (0.7 * vector.trim(0.5), 0.7 * vector.layers("0"), 0.7 * TaskVector(triple.base, triple.domain),
                  0.7 * TaskVector(triple.domain, triple.ranker)):
        with pytest.raises(MergeError, match="holds another merge"):
            (Checkpoint(triple.ranker) + other).save(merged)


@pytest.mark.parametrize("role", ["ranker", "domain", "base"])
def test_a_changed_input_is_noticed_though_name_and_size_stay(triple, merged, role):
    changed(getattr(triple, role), BIAS, lambda tensor: tensor + 1)
    before = state(merged)
    with pytest.raises(MergeError, match=r"holds another merge.*weights \(model.safetensors of .*overwrite=True"):
        merge_of(triple).save(merged)
    assert state(merged) == before


def test_a_merge_that_was_made_before_the_input_changed_notices_it_too(triple, merged, tmp_path):
    merge = merge_of(triple)
    expected = merge.tensor(BIAS).clone()
    changed(triple.ranker, BIAS, lambda tensor: tensor + 1)
    with pytest.raises(MergeError, match="holds another merge"):
        merge.save(merged)
    again = Checkpoint(merge.save(tmp_path / "again")).tensor(BIAS)
    assert not same_bits(again, expected)


@pytest.mark.parametrize(("options", "said"), [({"alpha": 0.5}, "the recipe"),
                                               ({"dtype": "float16"}, r"the dtype \(None there"),
                                               ({"shard_size": "1MB"}, r"the shard size \(5000000000 there")])
def test_another_recipe_is_refused_with_what_differs(triple, merged, options, said):
    before = state(merged)
    alpha = options.get("alpha", 0.7)
    options = {name: value for name, value in options.items() if name != "alpha"}
    with pytest.raises(MergeError, match=f"{merged}.* holds another merge.*{said}"):
        save_merge(merge_of(triple, alpha), merged, **options)
    assert state(merged) == before


def test_another_companion_of_the_ranker_is_noticed(triple, merged):
    with (triple.ranker / "vocab.txt").open("a") as file:
        file.write("\n")
    with pytest.raises(MergeError, match=r"companion files of Θ_T \(vocab.txt\)"):
        merge_of(triple).save(merged)


@pytest.mark.parametrize("damage", ["a file is gone", "a file was edited", "weights of the same size",
                                    "weights of the same time", "a tokenizer of the same time"])
def test_a_folder_that_was_touched_is_not_taken_for_the_result(triple, merged, damage):
    name = ("model.safetensors" if damage.startswith("weights") else "tokenizer.json" if "tokenizer" in damage
            else "config.json")
    times = (merged / name).stat()
    if damage == "a file is gone":
        (merged / name).unlink()
    else:
        content = (merged / name).read_bytes()
        (merged / name).write_bytes(content[:-1] + b" ")
    if damage.endswith("time"):  # as a disk that loses a bit leaves it
        os.utime(merged / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(MergeError, match=rf"holds this merge, but {name} changed since"):
        merge_of(triple).save(merged)
    expected = files(save_merge(merge_of(triple), merged.parent / "again"))
    save_merge(merge_of(triple), merged, overwrite=True)
    saved = files(merged)
    assert saved == expected


def test_overwrite_replaces_another_merge_whole(triple, merged, tmp_path):
    save_merge(merge_of(triple, 0.5), merged, overwrite=True)
    assert same_bits(Checkpoint(merged).tensor(BIAS), merge_of(triple, 0.5).tensor(BIAS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged", "taskarith-home", "triple"]


def test_overwrite_loses_no_file_that_someone_put_there(triple, merged):
    (merged / "results").mkdir()
    (merged / "results" / "run.txt").write_text("mine")
    merge_of(triple).save(merged)  # the same merge: nothing is done, so nothing is lost
    before = state(merged)
    with pytest.raises(MergeError, match=r"files that no merge wrote: results/run\.txt"):
        save_merge(merge_of(triple, 0.5), merged, overwrite=True)
    assert state(merged) == before


@pytest.mark.parametrize("record", [None, "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_overwrite_never_replaces_a_folder_of_something_else(triple, merged, record):
    if record is None:
        (merged / "taskarith.json").unlink()
    else:
        (merged / "taskarith.json").write_text(record)
    before = state(merged)
    with pytest.raises(MergeError, match="exists and is not empty; choose another folder or remove it"):
        save_merge(merge_of(triple, 0.5), merged, overwrite=True)
    assert state(merged) == before


def test_a_failed_overwrite_leaves_the_old_folder(triple, merged, monkeypatch):
    before, true = state(merged), os.pwrite

    def full(file, data, at):
        if at > 100_000:
            raise OSError(28, "No space left on device")
        return true(file, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=r"No space left on device: .*model\.safetensors"):
        save_merge(merge_of(triple, 0.5), merged, overwrite=True)
    assert state(merged) == before
    assert sorted(path.name for path in merged.parent.iterdir()) == ["merged", "taskarith-home", "triple"]


def test_the_record_tells_programs_what_the_readme_tells_people(triple, tmp_path):
    vector = TaskVector(triple.domain, triple.base)
    folder = save_merge(Checkpoint(triple.ranker) + 0.7 * vector.layers("0"), tmp_path / "merged", dtype="float16")
    record = json.loads((folder / "taskarith.json").read_text())
    assert record["recipe"]["dtype"] == "float16" and "0.7·" in record["recipe"]["merge"]
    hashes = {(entry[1], entry[2]): entry[3] for entry in record["recipe"]["inputs"]}
    folders = [getattr(triple, role) for role in ("ranker", "domain", "base")]
    assert hashes == {(str(read), "model.safetensors"): sha256(read / "model.safetensors") for read in folders}
    there = {name: len(content) for name, content in files(folder).items() if name != "taskarith.json"}
    assert {name: seen[0] for name, seen in record["files"].items()} == there


def test_a_merged_folder_as_ranker_does_not_hand_its_record_on(triple, merged, tmp_path):
    again = merge_of(triple, 0.1, ranker=merged).save(tmp_path / "again")
    record = json.loads((again / "taskarith.json").read_text())
    assert record["recipe"]["inputs"][0][1] == str(merged) and "taskarith.json" not in record["recipe"]["companions"]


def test_a_file_that_changes_while_it_is_read_is_an_error(triple, tmp_path, monkeypatch):
    true = os.preadv

    def touching(*given):
        os.utime(triple.domain / "model.safetensors", ns=(1, 1))
        return true(*given)

    monkeypatch.setattr(os, "preadv", touching)
    with pytest.raises(MergeError, match=r"domain/model\.safetensors was changed while the merge read it"):
        merge_of(triple).save(tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_a_killed_run_left_is_removed_where_the_merge_is_there_already(triple, merged):
    left = merged.parent / ".merged.0123abcd.tmp"
    (left / "new").mkdir(parents=True)
    left.with_suffix(".lock").touch()
    before = state(merged)
    merge_of(triple).save(merged)
    assert state(merged) == before and not list(merged.parent.glob(".merged.*"))
