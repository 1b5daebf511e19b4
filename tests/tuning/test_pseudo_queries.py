"""Pseudo-queries by hand on tiny corpora: what is asked, what it may find, which words are masked."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from pyterrier_taskarith.terrier import first_stage
from pyterrier_taskarith.tuning._pseudo_queries import (
    candidate_run,
    mask,
    random_sentences,
    read_corpus,
    sentences,
    terrier_stems,
    titles,
    without,
)
from tests.pipelines._real_text import documents as real_documents

CORPUS = pd.DataFrame([
    ("d1", "Cold rivers freeze", "Water becomes ice below zero. COLD rivers freeze! Fish survive under it."),
    ("d2", "Storms", "Storms move over the sea. They bring rain to the coast in every cold season of the year."),
    ("d3", "Warm seas", "Warm seas Storms feed on them. Their water rises as vapour. It cools."),  # in front
    ("d4", "", "One sentence and nothing else"),
    ("d5", None, "First sentence here.\n\nSecond part e.g. with an abbreviation. Third."),
], columns=["docno", "title", "text"])


def plain_stems(text):
    """Lower-case words without a final s: a stemmer that can be followed by hand."""
    return {word.removesuffix("s") for word in re.findall(r"\w+", text.lower())}


def chance(seed=0):
    return np.random.default_rng(seed)


def pairs(pseudo):
    return dict(pseudo.queries.itertuples(index=False))


def texts(pseudo):
    return dict(pseudo.texts.itertuples(index=False))


def test_titles_are_told_apart_from_bodies_however_they_are_given():
    read = read_corpus(CORPUS).set_index("docno")
    assert read.loc["d1", "text"] == "Cold rivers freeze " + CORPUS["text"][0]
    assert read.loc["d1", "body"] == CORPUS["text"][0]
    assert read.loc["d3"].tolist() == ["Warm seas", "Storms feed on them. Their water rises as vapour. It cools.",
                                       CORPUS["text"][2]]
    assert read.loc["d5"].tolist() == ["", CORPUS["text"][4], CORPUS["text"][4]]
    pd.testing.assert_frame_equal(read_corpus(CORPUS.to_dict("records")), read.reset_index())
    pd.testing.assert_frame_equal(read_corpus(iter(CORPUS.to_dict("records"))), read.reset_index())
    # a short title that is a sentence's subject is not in front; in a corpus of small letters nobody can tell
    for title, text, body in (("Berlin", "Berlin is old.", "Berlin is old."), ("berlin", "berlin is old.", "is old."),
                              ("A title that has six words", "A title that has six words p53 is.", "p53 is.")):
        assert read_corpus([{"docno": 1, "title": title, "text": text}])["body"][0] == body
    # a title that is only the beginning of a word is none of the text's
    assert read_corpus([{"docno": 1, "title": "Warm sea", "text": "Warm seas."}])["text"][0] == "Warm sea Warm seas."
    assert read_corpus(CORPUS[["docno", "text"]])["title"].eq("").all()


def test_sentences_end_at_full_stops_before_no_small_letter_and_at_blank_lines():
    assert sentences(CORPUS["text"][4]) == ["First sentence here.", "Second part e.g. with an abbreviation.", "Third."]
    assert sentences("  ") == [] and sentences("None") == ["None"]
    assert sentences("Why? 3 reasons! Go") == ["Why?", "3 reasons!", "Go"]


def test_a_sentence_is_removed_wherever_it_stands_alone_and_the_rest_stays_as_it_is():
    text = "It is so.  Really  so. IT IS\nSO!\n\nIt is so because. It is so"
    assert without(text, "It is so.") == "Really  so. It is so because."
    assert without(text, "Not there.") == text
    assert without("It is so.", "it is so") == ""


def test_titles_or_first_sentences_seek_bodies_without_them():
    found = titles(read_corpus(CORPUS), 10, seed=0)
    assert pairs(found) == {
        "d1": "Cold rivers freeze",
        "d2": "Storms move over the sea.",  # a title of one word is none
        "d3": "Warm seas",
        "d5": "First sentence here.",
    }
    assert texts(found) == {
        "d1": "Water becomes ice below zero. Fish survive under it.",  # not where the body repeats it, either
        "d2": "They bring rain to the coast in every cold season of the year.",
        "d3": "Storms feed on them. Their water rises as vapour. It cools.",
        "d4": "One sentence and nothing else",  # no target, but a candidate
        "d5": "Second part e.g. with an abbreviation. Third.",
    }


def test_random_sentences_of_six_words_or_more_seek_the_rest_of_their_documents():
    found = random_sentences(read_corpus(CORPUS), 10, seed=0)
    # the others have none that leaves a rest
    assert pairs(found) == {"d2": "They bring rain to the coast in every cold season of the year.",
                            "d5": "Second part e.g. with an abbreviation."}
    assert texts(found)["d2"] == "Storms Storms move over the sea."
    assert texts(found)["d5"] == "First sentence here.\n\nThird."
    assert texts(found)["d1"] == "Cold rivers freeze " + CORPUS["text"][0]  # candidates are whole documents


@pytest.mark.parametrize(("words", "fits"), [(5, False), (6, True), (40, True), (41, False)])
def test_sentences_have_6_to_40_words(words, fits):
    corpus = read_corpus([{"docno": "a", "text": " ".join(["word"] * words) + ". Rest."}])
    assert len(random_sentences(corpus, 1, seed=0).queries) == fits


def test_a_title_that_says_the_sentence_goes_with_it():
    said = "Iron rusts fast in salty water"
    corpus = read_corpus([{"docno": "a", "title": said, "text": f"{said.lower()}. Paint helps."}])
    assert texts(random_sentences(corpus, 1, seed=0)) == {"a": "Paint helps."}


def test_no_pseudo_query_is_left_in_its_target_of_real_text():
    read = read_corpus(real_documents())
    for made in (titles(read, 400, seed=1), random_sentences(read, 400, seed=1)):
        assert len(made.queries) > 80
        for docno, query in pairs(made).items():
            wanted = re.findall(r"\w+", query.lower())
            for sentence in sentences(texts(made)[docno]):
                assert re.findall(r"\w+", sentence.lower()) != wanted


@pytest.mark.parametrize("make", [titles, random_sentences])
def test_the_seed_decides_which_documents_are_drawn_and_a_smaller_draw_is_part_of_a_larger(make):
    read = read_corpus(real_documents())
    drawn = [set(make(read, 20, seed=seed).queries["qid"]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 20
    assert len(drawn[0] & drawn[2]) < 15
    assert drawn[0] <= set(make(read, 40, seed=0).queries["qid"])
    pd.testing.assert_frame_equal(make(read, 20, seed=0).queries, make(read, 20, seed=0).queries)


def test_only_words_whose_stem_occurs_are_dropped_half_of_the_time():
    query, target = "Cats hunt - birds at dawn or dusk", "The cat saw bird and dawn."
    random, counts, rounds = chance(), Counter(), 2000
    for _ in range(rounds):
        counts.update(mask(query, target, plain_stems, random).split())
    for word in ("hunt", "at", "or", "dusk"):
        assert counts[word] == rounds
    for word in ("Cats", "birds", "dawn"):
        assert counts[word] / rounds == pytest.approx(0.5, abs=0.05)
    assert counts["-"] == 0


def test_two_words_are_kept_whatever_occurs_and_each_is_as_likely():
    random, counts = chance(), Counter()
    sizes = Counter()
    for _ in range(2000):
        kept = mask("a b c", "A B C", plain_stems, random).split()
        assert kept == sorted(kept)
        sizes[len(kept)] += 1
        counts.update(kept)
    assert set(sizes) == {2, 3}
    assert sizes[3] / 2000 == pytest.approx(1 / 8, abs=0.03)
    assert max(counts.values()) - min(counts.values()) < 150
    assert mask("alone", "alone", plain_stems, random) == "alone"


def test_a_word_of_several_parts_occurs_if_one_of_them_does():
    seen = {mask("IL-6 is up today", "il rose", plain_stems, chance(seed)) for seed in range(20)}
    assert seen == {"IL-6 is up today", "is up today"}


@pytest.mark.parametrize(("corpus", "error", "words"), [
    (pd.DataFrame({"docno": ["a"], "body": ["x"]}), ValueError, r"lacks \['text'\]"),
    ([{"text": "x"}], ValueError, r"lacks \['docno'\]"),
    (CORPUS.head(0), ValueError, "empty"),
    ([], ValueError, "empty"),
    (pd.DataFrame({"docno": ["a", "b"], "text": ["x", None]}), ValueError, r"1 documents .*\['b'\]"),
    (pd.DataFrame({"docno": ["a", "a"], "text": ["x", "y"]}), ValueError, "'a' occurs more than once"),
    ("folder", TypeError, "is a str"),
    ({"docno": "a", "text": "x"}, TypeError, "is a dict"),
    (["text"], TypeError, "holds a str"),
    (7, TypeError, "is a int"),
])
def test_faulty_corpora_are_refused(corpus, error, words):
    with pytest.raises(error, match=words):
        read_corpus(corpus)


# ---- with Terrier


@pytest.fixture(scope="module")
def pseudo():
    return random_sentences(read_corpus(real_documents()), 60, seed=3)


@pytest.fixture(scope="module")
def run(pseudo):
    return candidate_run(pseudo, seed=3)


@pytest.mark.java
def test_candidates_are_bm25s_for_the_whole_query_and_each_holds_its_target(pseudo, run, tmp_path):
    bm25 = first_stage(pseudo.texts, tmp_path / "index", num_results=100)(pseudo.queries)
    found = {qid: rows["docno"].tolist() for qid, rows in bm25.groupby("qid")}
    expected = {qid: docnos for qid, docnos in found.items() if qid in docnos}
    assert {qid: rows["docno"].tolist() for qid, rows in run.groupby("qid")} == expected
    assert run.groupby("qid")["target"].sum().eq(1).all()
    assert (run["docno"] == run["qid"]).equals(run["target"])
    assert run.groupby("qid").size().max() == 100
    assert [texts(pseudo)[docno] for docno in run["docno"]] == run["text"].tolist()


@pytest.mark.java
def test_a_pseudo_query_whose_target_is_not_found_is_left_out():
    corpus = read_corpus([{"docno": "lost", "text": "Zebra quagga okapi. Nothing of that kind returns."},
                          {"docno": "found", "text": "Green wheels turn. The wheels are green today."},
                          {"docno": "stop", "text": "It is what it is. Other words follow it."},
                          {"docno": "other", "text": "Frogs jump. Lamps glow. Trees."}])
    made = titles(corpus, 10, seed=0)
    assert len(made.queries) == 4
    assert candidate_run(made, seed=0)["qid"].unique().tolist() == ["found"]


@pytest.mark.java
def test_masked_queries_lack_only_words_that_their_target_has(pseudo, run):
    stems = terrier_stems()
    assert stems("running RUNS, run_ed") == stems("run") | stems("run_ed")
    masked, dropped = dict(run[["qid", "query"]].drop_duplicates().itertuples(index=False)), 0
    for qid, query in masked.items():
        words = [word for word in pairs(pseudo)[qid].split() if re.search(r"\w", word)]
        missing = Counter(words) - Counter(query.split())
        assert not Counter(query.split()) - Counter(words) and len(query.split()) >= 2
        assert all(stems(word) & stems(texts(pseudo)[qid]) for word in missing)
        dropped += sum(missing.values())
    assert dropped > len(masked)
    assert candidate_run(pseudo, seed=3).equals(run)
    assert not candidate_run(pseudo, seed=4)["query"].equals(run["query"])
