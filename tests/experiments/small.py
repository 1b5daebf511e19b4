"""What the tests of the experiments share: a first stage without Java, and a small rehearsal."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyterrier as pt

from experiments.datasets import DATASETS
from experiments.loading import Loaded
from experiments.options import Request
from experiments.rehearsal.rehearsing import stand_ins
from experiments.scoring import Settings
from experiments.systems import SYSTEMS
from pyterrier_taskarith.fusion import with_scores

DEPTH = 20


class Overlap(pt.Transformer):
    """Ranks documents by how many of a query's words they have, of equal ones the first."""

    def __init__(self, loaded: Loaded) -> None:
        self.documents = [{"docno": docno, "text": text} for docno, text in loaded.documents.pairs()]

    def transform(self, topics: pd.DataFrame) -> pd.DataFrame:
        rows = []
        for topic in topics.itertuples():
            words = set(topic.query.lower().split())
            scored = [(len(words & set(each["text"].lower().split())) - place / 1000, each)
                      for place, each in enumerate(self.documents)]
            best = sorted(scored, key=lambda pair: pair[0], reverse=True)[:DEPTH]
            rows += [(topic.qid, topic.query, each["docno"], each["text"], score) for score, each in best]
        found = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"])
        return with_scores(found, found["score"])


def overlap(loaded: Loaded, folder: Path) -> pt.Transformer:
    return Overlap(loaded)


def rehearsal(folder: Path, *, systems: list[str], datasets: list[str] | None = None, **settings) -> Request:
    """Returns a request on small models and collections, made in a folder."""
    wanted = [system for system in SYSTEMS if system.name in systems]
    small, collected, collections = stand_ins(wanted, DATASETS, folder, None, None)
    chosen = [dataset for dataset in collected if datasets is None or dataset.name in datasets]
    developments = [dataset for dataset in collected if dataset.develops]
    return Request(small, chosen, developments, "alone", replace(Settings(folder, collections, device="cpu"),
                                                                 **settings), rehearsal=True)
