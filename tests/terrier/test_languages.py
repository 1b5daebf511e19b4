"""German, Spanish and French first stages: whole terms, their stems and stop words, and what is dropped."""

import subprocess
import sys

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith.terrier._analysis import LANGUAGES, Dropped, read_stopwords, terrier_set_for
from pyterrier_taskarith.terrier._first_stage import dropped_of, first_stage
from pyterrier_taskarith.terrier._java import ensure_java

COMPOUND = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz"  # 63 characters
LONGEST = "ab" * 50
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


def dropped_tokens(texts, language):
    found = Dropped(longest=LANGUAGES[language].longest)
    for text in texts:
        found.add(text, LANGUAGES[language])
    return found


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
def test_what_is_dropped_is_counted_kept_with_the_index_and_shown(tmp_path, capsys):
    bodies = TEXTS["german"] | {"long": LONGEST + " " + LONGEST + "c"}
    first_stage(frame(bodies), tmp_path / "index", language="german", verbose=True)
    told = dropped_of(tmp_path / "index")
    assert told.counts == {"long": 1, "digits": 1, "repeated": 1} and told.tokens == 16
    assert told.examples == ["1234567", "aaaah", LONGEST + "c"]
    assert ("3 of 16 tokens dropped by Terrier's tokeniser: 1 longer than 100 characters, 1 with more than 4 digits, "
            "1 with a character more than 3 times in a row (such as '1234567', 'aaaah', 'abab") in str(told)
    first_stage(frame(bodies), tmp_path / "index", language="german", verbose=True)  # now from the index
    shown = capsys.readouterr().err
    assert shown.count(f"BM25 index of 4 documents (german): {told}") == 2
    assert dropped_of(tmp_path) is None


@pytest.mark.java
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_counted_as_dropped_is_what_terrier_drops(language):
    ensure_java()
    text = ("Größe l'été a1b2c3d4e5 a1b2c3d4 aaab aaaab aaAAaa 1234 12345 ١٢٣٤٥ ²²²²² x_y ⅷ e\u0301t\u0301 क्षि 漢字 "
            "\U0001f600grin\U0001d7d8\U00010400 IL-6 (p<0.05) AAAA 0000 a.b.c ﬁn " + LONGEST + " " + LONGEST + "c "
            + "ab" * 10 + " " + "ab" * 10 + "c ß" + "x")
    analysis = LANGUAGES[language]
    with terrier_set_for(analysis):
        tokeniser = pt.terrier.TerrierTokeniser.java_tokeniser(pt.terrier.TerrierTokeniser(analysis.tokeniser))
        kept = list(tokeniser.getTokens(text))
    told = dropped_tokens([text], language)
    assert told.tokens - told.counts.total() == len(kept)
    assert all(told.counts[kind] for kind in ("long", "digits", "repeated"))
    assert not {token.lower() for token in told.examples} & set(kept)


def test_nothing_dropped_is_said_too():
    assert str(dropped_tokens(["one two", "three"], "english")) == "none of 3 tokens dropped"


@pytest.mark.parametrize("language", TEXTS)
def test_the_stop_words_are_words_of_the_language(language):
    words = read_stopwords(LANGUAGES[language].stopwords)
    assert len(words) == len(set(words)) > 150 and all(word.isalpha() and word == word.lower() for word in words)
    assert {"german": {"nicht", "für"}, "spanish": {"también", "más"}, "french": {"même", "à"}}[language] <= set(words)


@pytest.mark.java
def test_english_keeps_terriers_limit_whatever_was_indexed_before(tmp_path):
    bodies = {"long": "ab" * 10 + "c frog", "other": "wheel", "more": "tree", "still": "lamp", "rest": "jump"}
    first_stage(frame(bodies), tmp_path / "german", language="german")
    english = first_stage(frame(bodies), tmp_path / "english")
    assert len(english.search("ab" * 10 + "c")) == 0 and english.search("frog")["docno"].tolist() == ["long"]
    assert dropped_of(tmp_path / "english").counts == {"long": 1}
    assert dropped_of(tmp_path / "german").counts == {}


LATE = """
import sys
import pandas as pd, pyterrier as pt
from pyterrier_taskarith.terrier._java import ensure_java
from pyterrier_taskarith.terrier._first_stage import first_stage
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
