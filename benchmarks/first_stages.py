"""The first stage's nDCG@10, against bm25s: python -m benchmarks.first_stages COLLECTION=LANGUAGE….

bm25s stems with PyStemmer's Snowball, has the first stage's k1 and b, and takes its stop words from the first stage's
list or from its own. A collection is a folder, or a zip, for pyterrier_taskarith.data.
"""

import argparse
import tempfile
from importlib.metadata import version

import bm25s
import pandas as pd
import pyterrier as pt
import Stemmer
from ir_measures import iter_calc, nDCG
from scipy.stats import ttest_rel

from pyterrier_taskarith.data import read_collection
from pyterrier_taskarith.terrier import K1, LANGUAGES, B, first_stage

COLUMNS = ("collection", "language", "documents", "queries", "first stage", "bm25s, same stop words",
           "difference (p)", "bm25s, its own stop words", "difference (p)")


def bm25s_run(documents, topics, language, stopwords):
    """Returns bm25s's top 100."""
    stemmer = Stemmer.Stemmer(language)
    options = {"stopwords": stopwords, "stemmer": stemmer, "show_progress": False}
    retriever = bm25s.BM25(k1=K1, b=B)
    retriever.index(bm25s.tokenize(documents["text"].tolist(), **options), show_progress=False)
    asked = bm25s.tokenize(topics["query"].tolist(), return_ids=False, **options)
    places, scores = retriever.retrieve(asked, k=min(100, len(documents)), show_progress=False)
    docnos = documents["docno"].to_numpy()
    rows = [(qid, docnos[place], float(score))
            for qid, found, given in zip(topics["qid"], places, scores, strict=True)
            for place, score in zip(found, given, strict=True) if score > 0]
    return pd.DataFrame(rows, columns=["qid", "docno", "score"])


def values(run, qrels):
    """Returns nDCG@10 of each judged query."""
    found = iter_calc([nDCG @ 10], pt.model.to_ir_measures(qrels), pt.model.to_ir_measures(run))
    return pd.Series({metric.query_id: metric.value for metric in found})


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collections", nargs="+", metavar="COLLECTION=LANGUAGE",
                        help=f"language: {', '.join(name for name in LANGUAGES if name != 'english')}")
    given = parser.parse_args()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pyterrier", "bm25s", "PyStemmer"))
    print(f"nDCG@10 of all queries, paired t-test. {libraries}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in given.collections:
        folder, _, language = name.rpartition("=")
        data = read_collection(folder)
        topics, qrels = (pd.concat(part.values(), ignore_index=True) for part in (data.topics, data.qrels))
        with tempfile.TemporaryDirectory() as scratch:
            ours = values(first_stage(data.documents, scratch, language=language)(topics), qrels)
        cells = [data.name, language, data.documents.count, len(topics), f"{ours.mean():.4f}"]
        for stopwords in (LANGUAGES[language].words, language):
            theirs = values(bm25s_run(data.documents.head(), topics, language, stopwords), qrels).reindex(ours.index)
            p = ttest_rel(ours, theirs).pvalue
            cells += [f"{theirs.mean():.4f}", f"{ours.mean() - theirs.mean():+.4f} ({p:.2f})"]
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
