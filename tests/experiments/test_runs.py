"""Runs in files: whole and of their recipe, or not there."""

import gzip
import json
import subprocess
import sys

import pandas as pd
import pytest

from experiments.runs import RUN, TEXTS, RunStore, compressed, run_bytes, slug, texts_bytes

RECIPE = {"model": "m", "alpha": 0.7, "tokens": ("▁no", "▁yes")}
FRAME = pd.DataFrame({"qid": ["2", "2", "1"], "docno": ["a", "b", "a"], "score": [0.1, 1 / 3, -2.5e-8]})


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path / "runs")
    yield store
    store.close()


def put(store, recipe=RECIPE):
    store.put("set/dev/m/alpha_0.7", recipe, {RUN: run_bytes(FRAME, "a tag"), TEXTS: texts_bytes({"a": "é\n\u2028"})})


def test_a_run_comes_back_with_every_bit_in_order_of_queries_and_ranks(store):
    put(store)
    assert store.has("set/dev/m/alpha_0.7", RECIPE)
    assert store.run("set/dev/m/alpha_0.7").values.tolist() == [["2", "b", 1 / 3], ["2", "a", 0.1], ["1", "a", -2.5e-8]]
    assert store.texts("set/dev/m/alpha_0.7") == {"a": "é\n\u2028"}
    lines = gzip.decompress((store.folder / "set/dev/m/alpha_0.7.run.gz").read_bytes()).decode().splitlines()
    assert lines[0] == f"2 Q0 b 0 {1 / 3!r} a_tag"


@pytest.mark.parametrize("changed", [{"alpha": 0.8}, {"model": "n"}, {"new": None}])
def test_another_recipe_is_not_there(store, changed):
    put(store)
    assert not store.has("set/dev/m/alpha_0.7", {**RECIPE, **changed})


@pytest.mark.parametrize("suffix", [RUN, TEXTS, ".json"])
def test_a_file_that_is_missing_or_changed_makes_the_run_missing(store, suffix):
    put(store)
    path = store.folder / f"set/dev/m/alpha_0.7{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert not store.has("set/dev/m/alpha_0.7", RECIPE)
    path.unlink()
    assert not store.has("set/dev/m/alpha_0.7", RECIPE)
    path.write_bytes(content)
    assert store.has("set/dev/m/alpha_0.7", RECIPE)


def test_an_old_recipe_never_stands_beside_new_files(store, monkeypatch):
    put(store)
    monkeypatch.setattr("experiments.runs.replace", lambda path, content: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        put(store, {**RECIPE, "alpha": 0.8})
    assert not store.has("set/dev/m/alpha_0.7", RECIPE)


def test_the_same_content_makes_the_same_bytes(store, monkeypatch):
    before = run_bytes(FRAME, "x")
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert run_bytes(FRAME, "x") == before == run_bytes(FRAME.iloc[[1, 0, 2]], "x")
    assert compressed("a") == compressed("a")


@pytest.mark.parametrize("column", ["qid", "docno"])
def test_blanks_in_a_name_are_refused(column):
    with pytest.raises(ValueError, match=f"the {column} 'a b'"):
        run_bytes(FRAME.assign(**{column: "a b"}), "x")


def test_a_second_process_is_turned_away(store):
    code = ("from pathlib import Path; import sys; from experiments.runs import RunStore\n"
            "try: RunStore(Path(sys.argv[1]))\nexcept BlockingIOError as error: print(error)")
    told = subprocess.run([sys.executable, "-c", code, str(store.folder)], capture_output=True, text=True, check=True)
    assert "another process is at work on" in told.stdout


def test_the_description_says_what_the_run_is(store):
    put(store)
    about = json.loads((store.folder / "set/dev/m/alpha_0.7.json").read_text())
    assert about["recipe"] == {**RECIPE, "tokens": ["▁no", "▁yes"]}
    assert set(about["files"]) == {RUN, TEXTS}


@pytest.mark.parametrize(("name", "made"), [("MIRACL Spanish", "miracl_spanish"), ("Llama-2-7B", "llama-2-7b"),
                                            ("alpha_0.7", "alpha_0.7"), ("a/../b", "a_.._b")])
def test_names_in_paths(name, made):
    assert slug(name) == made
