"""What a row of a family's table says, and how its merge is compared with the one by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pyterrier_taskarith import Checkpoint, TaskArithReranker, TaskVector
from testing import Triple, passages, questions
from tests.checkpoints.by_hand import same_bits
from tests.families.by_hand import (
    Spelling,
    files,
    merged,
    parameters,
    saved_by_hand,
    shared_rows,
    stored,
    transformer_of,
    whole,
)

ALPHA = 0.7
ROLES = ("ranker", "domain", "base")
#: Why a parameter of Θ_T is kept as it is.
NO_VECTOR, BUFFER, UNREAD = "absent from the task vector", "no parameter", "ignored by the model"
POOLER = {"pooler.dense.weight": NO_VECTOR, "pooler.dense.bias": NO_VECTOR}

Change = Callable[[Triple], object]


@dataclass(frozen=True)
class Row:
    """A triple with a hazard, and what the merge makes of it.

    Attributes:
        hazard: what is awkward about the files; the test's id.
        merged: how many parameters of Θ_T the task vector is added to.
        moved: how many of them it changes; None: all.
        options: of the family's factory.
        change: what is then done to the folders.
        kept: parameters and buffers of Θ_T that stay as they are, with the reason that the plan gives.
        kept_rows: rows of the token embedding that stay as they are.
        unused: first parts of the names that Θ_D − Θ_0 has and Θ_T lacks.
        scored: whether its scores are compared too.
        marks: pytest's marks, such as what is known to fail.
    """

    hazard: str
    merged: int
    options: Mapping[str, Any] = field(default_factory=dict)
    change: Change | None = None
    kept: Mapping[str, str] = field(default_factory=dict)
    kept_rows: int = 0
    moved: int | None = None
    unused: tuple[str, ...] = ()
    scored: bool = False
    marks: tuple[pytest.MarkDecorator, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A triple that must not be merged, and what the error says.

    Attributes:
        hazard: what is wrong; the test's id.
        error: pattern of the message; `{ranker}`, `{domain}` and `{base}` are the folders' names.
        options: of the family's factory.
        change: what is then done to the folders.
        only_scoring: whether the weights can be merged and saved, but not scored with.
        marks: pytest's marks, such as what is known to fail.
    """

    hazard: str
    error: str
    options: Mapping[str, Any] = field(default_factory=dict)
    change: Change | None = None
    only_scoring: bool = False
    marks: tuple[pytest.MarkDecorator, ...] = ()


class Case:
    """A triple on disk, and its merge by hand and by the package."""

    def __init__(self, row: Row | Refused, triple: Triple, spelling: Spelling) -> None:
        self.row, self.triple, self.spelling = row, triple, spelling
        if row.change is not None:
            row.change(triple)

    def parameters(self, role: str) -> dict[str, torch.Tensor]:
        """The parameters in a role's files, under bare names."""
        return parameters(getattr(self.triple, role), self.spelling)

    @cached_property
    def rows(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """The rows of shared tokens, where the three folders have different numbers of them."""
        embedding = self.spelling.by_token[0]
        if len({len(self.parameters(role)[embedding]) for role in ROLES}) == 1:
            return None
        return shared_rows(self.triple.ranker, self.triple.domain, self.triple.base)

    def by_hand(self, alpha: float = ALPHA) -> dict[str, torch.Tensor]:
        """Θ' under bare names, by plain torch."""
        return merged(*map(self.parameters, ROLES), alpha, by_token=self.spelling.by_token, rows=self.rows)

    @property
    def merge(self) -> Any:
        """The package's merge."""
        return Checkpoint(self.triple.ranker) + ALPHA * TaskVector(self.triple.domain, self.triple.base)

    def reranker(self, **options: object) -> TaskArithReranker:
        """The package's re-ranker."""
        return TaskArithReranker(*(getattr(self.triple, role) for role in ROLES),
                                 **{"alpha": ALPHA, "verbose": False, "device": "cpu", **options})


# --- weights


def assert_plan(case: Case) -> None:
    """The plan accounts for every parameter and buffer of Θ_T as the row says."""
    plan, row = case.merge.plan, case.row
    frame = plan.to_frame()
    assert dict(frame[~frame["merged"]][["name", "why"]].values) == dict(row.kept)
    assert frame["merged"].sum() == row.merged
    assert len(frame) == row.merged + len(row.kept)
    by_token = frame[frame["why"].str.startswith("rows ")]
    if row.kept_rows:
        held = len(case.parameters("ranker")[case.spelling.by_token[0]])
        assert set(by_token["why"]) == {f"rows {held - row.kept_rows} of {held} merged"}
    else:
        assert by_token.empty
    assert {name.split(".")[0] for name in plan.unused} == set(row.unused)


def assert_merged(case: Case) -> None:
    """`Merge.tensor` is the merge by hand, bit for bit, and moves every parameter that the row calls merged."""
    merge, expected, ranker = case.merge, case.by_hand(), case.parameters("ranker")
    assert set(merge.ranker.shapes) == set(expected) == set(ranker)
    differ = [name for name in expected if not same_bits(merge.tensor(name), expected[name])]
    assert not differ
    moved = {name for name in expected if not torch.equal(expected[name], ranker[name].float())}
    assert len(moved) == (case.row.merged if case.row.moved is None else case.row.moved)


def assert_saved(case: Case, folder: Path) -> None:
    """The saved folder holds Θ' in Θ_T's dtypes under Θ_T's names, its buffers too, and Θ_T's other files as they are.

    A parameter that Θ_T's files repeat is written once.
    """
    ranker, expected = stored(case.triple.ranker), case.by_hand()
    saved = files(case.merge.save(folder))
    seen = []
    for name, tensor in saved.items():
        bare = case.spelling.bare(name)
        seen.append(bare or name)
        value = ranker[name] if bare is None else expected[bare].to(ranker[name].dtype)
        assert same_bits(tensor, value), name
    assert sorted(seen) == sorted({case.spelling.bare(name) or name for name in ranker})
    for name in ("config.json", "tokenizer_config.json"):
        original = transformer_of(case.triple.ranker) / name
        assert (transformer_of(folder) / name).read_bytes() == original.read_bytes()


def loaded(reranker: TaskArithReranker, spelling: Spelling) -> dict[str, torch.Tensor]:
    """The weights a re-ranker scores with, under bare names; all that stands for one parameter must hold one value."""
    model = reranker.model
    model.weights.set(reranker.setting)
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.scorer.module.named_parameters(remove_duplicate=False):
        value = found.setdefault(spelling.bare(name) or name, parameter.detach().clone())
        assert torch.equal(value, parameter), name
    return found


def assert_loaded(case: Case, weights: str) -> None:
    """The loaded module holds Θ', Θ_T, Θ_D and Θ_0 in float32; what Θ_D or Θ_0 lacks is Θ_T's."""
    ranker = case.parameters("ranker")
    expected = {"Θ'": case.by_hand(), "Θ_T": ranker}
    for symbol, place, role in (("Θ_D", 1, "domain"), ("Θ_0", 2, "base")):
        own = case.parameters(role)
        expected[symbol] = {name: own.get(name, tensor) for name, tensor in ranker.items()}
        if case.rows is not None:
            in_ranker, theirs = _rows_of(case, place)
            for name in set(case.spelling.by_token) & set(ranker) & set(own):
                expected[symbol][name] = ranker[name].float().clone()
                expected[symbol][name][in_ranker] = own[name][theirs].float()
    reranker = case.reranker(weights=weights)
    for symbol, variant in [*reranker.variants().items(), ("Θ'", reranker)]:
        found = loaded(variant, case.spelling)
        assert {name.split(".")[0] for name in set(ranker) - set(found)} <= set(case.spelling.heads)
        differ = [name for name, value in found.items() if not same_bits(value, expected[symbol][name].float())]
        assert not differ, symbol


def _rows_of(case: Case, place: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows in Θ_T and in one other folder of the tokens that these two share; all rows where both have as many."""
    role = ROLES[place]
    own = case.parameters(role)[case.spelling.by_token[0]]
    if len(own) == len(case.parameters("ranker")[case.spelling.by_token[0]]):
        every = torch.arange(len(own))
        return every, every
    rows = shared_rows(case.triple.ranker, *(getattr(case.triple, role),) * 2)
    return rows[0], rows[1]


def assert_refused(case: Case, folder: Path) -> None:
    """Neither scoring nor saving goes through; the error says what the row says, and nothing is left on disk."""
    names = {role: str(getattr(case.triple, role)) for role in ROLES}
    pattern = case.row.error.format(**names)
    with pytest.raises(ValueError, match=pattern):
        case.reranker().transform(frame())
    if not case.row.only_scoring:
        with pytest.raises(ValueError, match=pattern):
            case.merge.save(folder)
        assert not folder.exists() and not list(folder.parent.glob(f".{folder.name}*"))


# --- scores


def frame() -> pd.DataFrame:
    """Two queries with every text: short, empty, of ordinary length, longer than any model here reads."""
    texts = ["", "cell", *passages(3), " ".join(passages(40, seed=2))]
    return pd.DataFrame([{"qid": f"q{i}", "query": query, "docno": f"d{j}", "text": text}
                         for i, query in enumerate(questions(2)) for j, text in enumerate(texts)])


Reference = Callable[[Path, list[str], list[str]], np.ndarray]


def assert_scores(case: Case, reference: Reference, tmp_path: Path) -> None:
    """Θ_T's and Θ''s scores are the reference's, of Θ_T's own folder and of one saved by hand."""
    given = frame()
    queries, texts = given["query"].tolist(), given["text"].tolist()
    reranker = case.reranker()
    by_hand = saved_by_hand(case.triple.ranker, tmp_path / "by hand", case.by_hand(), case.spelling)
    folders = {"Θ_T": as_float32(case, tmp_path), "Θ'": by_hand}
    found = {}
    for symbol, folder in folders.items():
        found[symbol] = reranker.variants()[symbol].transform(given)["score"].to_numpy()
        expected = reference(folder, queries, texts)
        assert expected.std() > 1e-2
        np.testing.assert_allclose(found[symbol], expected, atol=1e-5, rtol=1e-5, err_msg=symbol)
    assert np.abs(found["Θ'"] - found["Θ_T"]).max() > 1e-3


def as_float32(case: Case, tmp_path: Path) -> Path:
    """Θ_T's folder as published where it is a whole model in float32; else its weights in float32, saved by hand."""
    weights, folder = case.parameters("ranker"), case.triple.ranker
    if whole(folder) == folder and all(tensor.dtype == torch.float32 for tensor in weights.values()):
        return case.triple.ranker
    return saved_by_hand(case.triple.ranker, tmp_path / "float32", weights, case.spelling)


def assert_saved_scores(case: Case, reference: Reference, tmp_path: Path) -> None:
    """The reference gives the folder that the package saves the scores of the loaded re-ranker."""
    given, reranker = frame(), case.reranker()
    folder = reranker.save(tmp_path / "saved", dtype="float32")
    expected = reference(folder, given["query"].tolist(), given["text"].tolist())
    np.testing.assert_allclose(reranker.transform(given)["score"], expected, atol=1e-5, rtol=1e-5)
