"""What the tests of the re-ranker share: frames to re-rank, and merged folders made by hand."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import ArrayLike
from safetensors.torch import load_file, save_file

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.scorers import SCORE_TOLERANCE
from testing import Triple, passages, questions

#: With ATEN_CPU_CAPABILITY below AVX-512, PyTorch 2.15's attention in bfloat16 fails on a processor that has it.
needs_bfloat16 = pytest.mark.skipif(os.environ.get("ATEN_CPU_CAPABILITY", "avx512") != "avx512",
                                    reason="PyTorch's bfloat16 attention does not run below the processor's capability")
#: What masked models put before the bare encoder's names.
PREFIX = "bert."


def frame(queries: int = 3, texts: int = 6) -> pd.DataFrame:
    """Returns qid, query, docno, text, score and rank: every query with every text."""
    rows = [{"qid": f"q{i}", "query": query, "docno": f"d{j}", "text": text, "score": float(texts - j), "rank": j}
            for i, query in enumerate(questions(queries)) for j, text in enumerate(passages(texts))]
    return pd.DataFrame(rows)


def reranker(triple: Triple, **options: object) -> TaskArithReranker:
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, **{"verbose": False, **options})


def assert_scores_agree(found: ArrayLike, expected: ArrayLike) -> None:
    """Scores of the same pairs agree to the tolerance that holds between batches, threads, caches and residences."""
    np.testing.assert_allclose(found, expected, rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE)


def bare_state(folder: Path) -> dict[str, torch.Tensor]:
    """Returns a folder's tensors under the names of the bare encoder."""
    return {name.removeprefix(PREFIX): value for name, value in load_file(folder / "model.safetensors").items()}


def by_hand(ranker: Path, target: Path, added: list[tuple[float, Path, Path]]) -> Path:
    """Writes Θ_T + Σ α(Θ_D − Θ_0) in float64 arithmetic as a copy of Θ_T's folder, and returns it."""
    shutil.copytree(ranker, target)
    state = load_file(ranker / "model.safetensors")
    merged = {name: value.double() for name, value in state.items()}
    for alpha, domain, base in added:
        ours, theirs = bare_state(domain), bare_state(base)
        for name in merged:
            if name in ours and "pooler." not in name:
                merged[name] = merged[name] + alpha * (ours[name].double() - theirs[name].double())
    save_file({name: value.float().contiguous() for name, value in merged.items()}, target / "model.safetensors",
              metadata={"format": "pt"})
    return target


def with_weights_of(ranker: Path, target: Path, other: Path) -> Path:
    """Writes a copy of Θ_T's folder with the encoder of another model in it, and returns it."""
    shutil.copytree(ranker, target)
    state, others = load_file(ranker / "model.safetensors"), bare_state(other)
    save_file({name: others.get(name, value).contiguous() for name, value in state.items()},
              target / "model.safetensors", metadata={"format": "pt"})
    return target


def reference(folder: Path, results: pd.DataFrame) -> np.ndarray:
    """Returns sentence-transformers' scores for the rows of a frame."""
    from tests.scorers.reference import sentence_transformers_scores

    return sentence_transformers_scores(folder, results["query"].tolist(), results["text"].tolist())
