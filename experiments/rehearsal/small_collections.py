"""Small collections in the layouts of the real ones: made-up ones, and the demo's docstrings, one a package."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.datasets import Dataset
from pyterrier_taskarith._files import home
from pyterrier_taskarith.demo import build_collection

QUERIES, DOCUMENTS = 8, 30


def make_collections(datasets: Sequence[Dataset], folder: Path) -> None:
    """Writes a small collection for each dataset: BEIR's layout, and the plain one where development is a folder."""
    from testing import passages, questions

    for seed, dataset in enumerate(datasets, 1):
        target = folder / dataset.folder
        texts = passages(DOCUMENTS, seed=seed, longest=4)
        documents = [(f"d{number}", f"Title {number}", text) for number, text in enumerate(texts)]
        share = round(QUERIES / dataset.development_share)
        asked = questions(QUERIES + share, seed=seed)
        queries = {f"q{number}": f"{text} x{number}" for number, text in enumerate(asked)}
        # A third of the documents, so that both lists have something to find and something to miss.
        relevant = {qid: [f"d{(7 * number + step) % DOCUMENTS}" for step in range(0, DOCUMENTS, 3)]
                    for number, qid in enumerate(queries)}
        tests, develops = list(queries)[:QUERIES], list(queries)[QUERIES:] if dataset.develops else []
        if dataset.development_folder:
            _lines(target / "docs.jsonl", (json.dumps({"docno": d, "title": t, "text": x}) for d, t, x in documents))
            for where, qids in ((target, tests), (folder / dataset.development_folder, develops)):
                _lines(where / "queries.tsv", (f"{qid}\t{queries[qid]}" for qid in qids))
                _lines(where / "qrels.txt", (f"{qid} 0 {docno} 1" for qid in qids for docno in relevant[qid]))
            continue
        _lines(target / "corpus.jsonl", (json.dumps({"_id": d, "title": t, "text": x}) for d, t, x in documents))
        _lines(target / "queries.jsonl", (json.dumps({"_id": qid, "text": text}) for qid, text in queries.items()))
        for split, qids in (("test", tests), ("dev", develops)):
            if qids:
                _lines(target / "qrels" / f"{split}.tsv", ("query-id\tcorpus-id\tscore", *(
                    f"{qid}\t{docno}\t1" for qid in qids for docno in relevant[qid])))


def docstring_collections(folder: Path) -> None:
    """Writes the demo's docstrings as a collection for each package, in the plain layout.

    The test queries of scipy, say, are in the folder scipy with its documents, and the development queries in
    scipy_dev. A query that documents of several packages are relevant to is in none.

    Args:
        folder: Where the folders are made.

    Raises:
        RuntimeError: As :func:`build_collection`.
    """
    data = build_collection(home() / "demo")
    every = data.documents.head()
    for package, documents in every.groupby(_package(every)):
        _lines(folder / str(package) / "docs.jsonl", (json.dumps({"docno": row.docno, "text": row.text})
                                                      for row in documents.itertuples()))
        for split, ending in (("test", ""), ("dev", "_dev")):
            topics, qrels = data.topics[split], data.qrels[split]
            others = qrels.loc[_package(qrels) != package, "qid"]
            qrels = qrels[~qrels["qid"].isin(others)]
            topics = topics[topics["qid"].isin(qrels["qid"])]
            place = folder / f"{package}{ending}"
            _lines(place / "queries.tsv", (f"{row.qid}\t{row.query}" for row in topics.itertuples()))
            _lines(place / "qrels.txt", (f"{row.qid} 0 {row.docno} {row.label}" for row in qrels.itertuples()))


def _package(rows: pd.DataFrame) -> pd.Series:
    """Returns the package that each row's document is of."""
    return rows["docno"].str.partition(".")[0]


def _lines(path: Path, lines: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")  # type: ignore[attr-defined]
