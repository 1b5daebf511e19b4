"""A small made-up test collection with runs of different quality."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

N_QUERIES, N_DOCUMENTS = 60, 20

Runs = dict[str, pd.DataFrame]


@pytest.fixture(scope="session")
def qrels() -> pd.DataFrame:
    """Sixty queries, twenty judged documents each, labels 0 to 2."""
    random = np.random.default_rng(1)
    return pd.DataFrame([(f"q{query}", f"d{document}", int(random.choice([0, 0, 0, 1, 2])))
                         for query in range(N_QUERIES) for document in range(N_DOCUMENTS)],
                        columns=["qid", "docno", "label"])


@pytest.fixture(scope="session")
def runs(qrels: pd.DataFrame) -> Runs:
    """BM25, Θ_0, Θ_D, Θ_T and two Θ'; the last is much the best, the one before about as good as Θ_T."""
    random = np.random.default_rng(2)

    def run(quality: float) -> pd.DataFrame:
        scores = random.normal(size=len(qrels)) + quality * qrels["label"]
        frame = qrels[["qid", "docno"]].assign(score=scores).sort_values(["qid", "score"], ascending=[True, False])
        frame["rank"] = frame.groupby("qid").cumcount()
        return frame.groupby("qid").head(12).reset_index(drop=True)

    return {"BM25": run(.3), "Θ_0": run(.1), "Θ_D": run(.2), "Θ_T": run(.6), "Θ' (α=1)": run(.5), "Θ' (α=.7)": run(2.)}


@pytest.fixture(scope="session")
def baselines() -> list[str]:
    """The paper's baselines."""
    return ["BM25", "Θ_0", "Θ_D", "Θ_T"]


@pytest.fixture(scope="session")
def hits() -> Callable[[list[int]], tuple[pd.DataFrame, pd.DataFrame]]:
    """Makes qrels with one relevant document per query and a run that has it first (1) or not at all (0)."""
    def make(first: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
        queries = [str(number) for number in range(1, len(first) + 1)]
        judged = pd.DataFrame({"qid": queries, "docno": "relevant", "label": 1})
        run = pd.DataFrame({"qid": queries, "docno": ["relevant" if hit else "other" for hit in first], "score": 1.0})
        return judged, run

    return make
