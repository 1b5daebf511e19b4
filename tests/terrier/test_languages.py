"""German, Spanish and French first stages: whole terms, their stems and stop words, and what Terrier leaves out."""

import subprocess
import sys

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith.terrier import ensure_java, first_stage
from pyterrier_taskarith.terrier._first_stage import LANGUAGES, terrier_set_for

COMPOUND = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz"  # 63 characters
TEXTS = {
    "german": {"größe": f"Die Größe der Häuser. {COMPOUND}", "körper": "Ein Körper wog 1234567 Gramm, aaaah",
               "straße": "Straßen im Land"},
    "spanish": {"niño": "Los niños corrían por la montaña", "gato": "Un gato duerme", "ópera": "La ópera empezó"},
    "french": {"hôtel": "L'hôtel ancien, nous étions heureux", "œuvre": "Les œuvres complètes",
               "chat": "Le chat dormait"},
}
FOUND = {  # query -> the documents that share a stem with it, and no stop word
    "german": {"Haus, größer?": ["größe"], "der die das ein": [], COMPOUND.lower() + "e": ["größe"],
               "Straße: Körpers": ["straße", "körper"], "1234567": []},
    "spanish": {"¿niño?": ["niño"], "los la por un": [], "GATOS": ["gato"], "óperas (montañas)": ["ópera", "niño"]},
    "french": {"d'hôtels": ["hôtel"], "nous les le": [], "chats dormir": ["chat"], "l'œuvre complète!": ["œuvre"]},
}


def frame(bodies: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(bodies.items()), columns=["docno", "text"])


@pytest.mark.java
@pytest.mark.filterwarnings("ignore:Skipping empty query")
@pytest.mark.parametrize("language", TEXTS)
def test_words_are_found_by_their_stems_and_not_by_stop_words(tmp_path, language):
    # Further documents, so that a term's idf is positive.
    bodies = TEXTS[language] | {f"more {number}": f"xyz{number}" for number in range(9)}
    pipeline = first_stage(frame(bodies), tmp_path / "index", language=language)
    topics = pd.DataFrame([(str(number), query) for number, query in enumerate(FOUND[language])],
                          columns=["qid", "query"])
    found = pipeline(topics).groupby("qid")["docno"].agg(set).to_dict()
    assert {query: found.get(str(number), set()) for number, query in enumerate(FOUND[language])} == {
        query: set(docnos) for query, docnos in FOUND[language].items()}
    again = pipeline.search(next(iter(FOUND[language])))
    assert again["query"].tolist() == [next(iter(FOUND[language]))] and again["text"].tolist() == [
        bodies[docno] for docno in again["docno"]]


@pytest.mark.java
@pytest.mark.parametrize("language", LANGUAGES)
def test_terrier_leaves_out_the_tokens_that_the_docstring_says(language):
    ensure_java()
    analysis = LANGUAGES[language]
    longest = ("ab" * 50)[:analysis.longest]
    kept = [longest, "a1b2c3d4", "1234", "aaab", "x"]
    left_out = [f"{longest}c", "a1b2c3d4e5", "12345", "aaaab", "0000"]
    with terrier_set_for(analysis):
        tokeniser = pt.terrier.TerrierTokeniser.java_tokeniser(pt.terrier.TerrierTokeniser(analysis.tokeniser))
        assert list(tokeniser.getTokens(" ".join([*left_out, *kept, *left_out]))) == kept


@pytest.mark.parametrize("language", TEXTS)
def test_the_stop_words_are_words_of_the_language(language):
    words = LANGUAGES[language].words
    assert len(words) == len(set(words)) > 150 and all(word.isalpha() and word == word.lower() for word in words)
    assert {"german": {"nicht", "für"}, "spanish": {"también", "más"}, "french": {"même", "à"}}[language] <= set(words)


@pytest.mark.java
def test_english_keeps_terriers_limit_whatever_was_indexed_before(tmp_path):
    bodies = {"long": "ab" * 10 + "c frog", "other": "wheel", "more": "tree", "still": "lamp", "rest": "jump"}
    first_stage(frame(bodies), tmp_path / "german", language="german")
    english = first_stage(frame(bodies), tmp_path / "english")
    assert len(english.search("ab" * 10 + "c")) == 0 and english.search("frog")["docno"].tolist() == ["long"]
    assert first_stage(frame(bodies), tmp_path / "german", language="german").search("ab" * 10 + "c")[
        "docno"].tolist() == ["long"]


LATE = """
import sys
import pandas as pd, pyterrier as pt
from pyterrier_taskarith.terrier import ensure_java, first_stage
ensure_java()
pt.rewrite.tokenise("utf")
try:
    first_stage(pd.DataFrame({"docno": ["a"], "text": ["b"]}), sys.argv[1], language="german")
except RuntimeError as error:
    print(error)
"""


@pytest.mark.java
def test_a_tokeniser_that_was_used_before_with_terriers_limit_is_an_error(tmp_path):
    done = subprocess.run([sys.executable, "-c", LATE, str(tmp_path / "index")], capture_output=True, text=True)
    assert "'utf' was used in this process with another limit on a term's length than 100" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []
