"""`taskarith cache` tells what scores are kept, in words, and clears them."""

import subprocess
import sys

import pandas as pd
import pytest

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith._score_cache import CachedSetting, ScoreCache
from testing import passages, questions
from tests.reranking import assert_scores_agree


@pytest.fixture
def kept(tmp_path):
    """Three settings of two rankers."""
    cache = ScoreCache(tmp_path / "scores")
    for number, (ranker, weights, count) in enumerate([
            ("org/monot5", "Θ_T", 10), ("org/tas-b", "Θ_T", 3), ("org/monot5", "Θ_T + 0.5·(org/bio − t5)", 2000)]):
        cache.put(CachedSetting(bytes([number]) * 16, ranker, weights, "Seq2Seq, float32"),
                  [(i.to_bytes(32, "big"), 0.5) for i in range(count)])
    return cache


def test_it_shows_each_ranker_with_its_settings(printed, kept, tmp_path):
    status, out, _ = printed("cache", tmp_path / "scores")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == f"{kept.path}: 2,013 scores, {kept.size / 1e6:.2f} MB."
    assert lines[2] == "org/monot5" and lines[8] == "org/tas-b"
    assert [line.split()[:2] for line in lines[4:6]] == [["1", "10"], ["3", "2,000"]]
    assert lines[5].endswith("Seq2Seq, float32  Θ_T + 0.5·(org/bio − t5)") and lines[6].split()[0] == "2,010"
    assert lines[10].split()[:2] == ["2", "3"] and len(lines) == 11


@pytest.mark.parametrize("what, left", [
    (["3"], {1, 2}), (["1", "2"], {3}), (["org/monot5"], {2}), (["org/monot5", "2"], set()), (["all"], set()),
])
def test_it_clears_all_or_one_ranker_or_one_setting(printed, kept, tmp_path, what, left):
    gone = sum(entry.scores for entry in kept.entries() if entry.number not in left)
    status, out, _ = printed("cache", tmp_path / "scores", *(part for one in what for part in ("--clear", one)))
    assert status == 0 and out.startswith(f"{gone:,} scores forgotten.\n")
    assert {entry.number for entry in kept.entries()} == left


def test_what_is_kept_by_a_reranker_is_told_in_words(printed, triple, tmp_path):
    frame = pd.DataFrame({"qid": "1", "docno": list("abc"), "query": questions(1)[0], "text": passages(3)})
    r = TaskArithReranker(triple.ranker, triple.domain, triple.base, 0.25, cache=tmp_path / "own", verbose=False)
    for one in (*r.variants().values(), r.copy(alpha=0), r.copy(alpha={"default": 0.5, "embeddings": 0})):
        one.transform(frame)
    _, out, _ = printed("cache", tmp_path / "own")
    vector = f"({triple.domain} − {triple.base})"
    words = [f"Θ_0 = {triple.base}", f"Θ_D = {triple.domain}", "Θ_T", f"Θ_T + 0.25·{vector}",
             f"Θ_T + {{default: 0.5, embeddings: 0.0}}·{vector}"]  # α = 0 is Θ_T's
    lines = out.splitlines()
    assert lines[2] == str(triple.ranker) and len(lines) == 4 + 5 + 1
    assert sorted(words) == sorted(line.rpartition("tokens  ")[2] for line in lines[4:9])
    assert all(line.split()[1] == "3" and "BiEncoder, float32" in line for line in lines[4:9])

    assert printed("cache", tmp_path / "own", "--clear", triple.ranker)[0] == 0
    again = r.copy(cache=str(tmp_path / "own"), batch_tokens=50)  # another living model, which remembers nothing
    assert_scores_agree(again.transform(frame)["score"], r.transform(frame)["score"])
    assert len(ScoreCache(tmp_path / "own")) == 3


def test_without_a_folder_it_is_the_one_of_the_commands(printed, kept, tmp_path, monkeypatch):
    assert printed("cache") == (0, f"{tmp_path / 'taskarith-home' / 'scores'}: no scores.\n", "")
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path))
    assert printed("cache")[1].startswith(f"{kept.path}: 2,013 scores")


@pytest.mark.parametrize("what", ["7", "org/other", "1,2"])
def test_what_is_not_there_is_not_cleared(printed, kept, tmp_path, what):
    status, out, err = printed("cache", tmp_path / "scores", "--clear", "1", "--clear", what)
    assert (status, out) == (1, "") and f"--clear {what}: no such number or ranker" in err
    assert "org/monot5, org/tas-b" in err and len(kept) == 2013


def test_a_folder_without_scores_is_an_error_and_stays_as_it_is(printed, tmp_path):
    assert printed("cache", tmp_path)[2] == f"taskarith: {tmp_path} holds no scores: there is no scores.sqlite3\n"
    assert not list(tmp_path.iterdir())
    (tmp_path / "scores.sqlite3").write_text("a note" * 1000)
    status, _, err = printed("cache", tmp_path, "--clear", "all")
    assert status == 1 and "is not an SQLite database" in err
    assert (tmp_path / "scores.sqlite3").read_text() == "a note" * 1000


def test_it_needs_no_model_library(kept, tmp_path):
    script = ("import sys\nfrom pyterrier_taskarith.cli import main\n"
              f"assert main(['cache', {str(tmp_path / 'scores')!r}]) == 0\n"
              "assert not set(sys.modules) & {'torch', 'transformers', 'pyterrier', 'pandas', 'numpy'}\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
