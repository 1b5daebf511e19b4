"""Makes the runs of a table that are not there yet: the first stage's, and those of every model and α."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
import torch

from experiments.datasets import Dataset
from experiments.loading import DEPTH, Loaded, first_stage, load, stored_in_words, stored_run
from experiments.paper import BASE, BM25, DOMAIN, RANKER
from experiments.progress import SCORING, Progress, versions
from experiments.runs import FORMAT, RUN, TEXTS, RunStore, run_bytes, sha256, slug, texts_bytes
from experiments.systems import Model, System
from pyterrier_taskarith import Checkpoint, TaskArithReranker
from pyterrier_taskarith.errors import DataError
from pyterrier_taskarith.fusion import with_scores
from pyterrier_taskarith.terrier import K1, B

#: The published models of a system, as TaskArithReranker calls them; the others are Θ' at some α.
VARIANTS = {BASE: "base", DOMAIN: "domain", RANKER: "ranker"}
Alpha = float | dict[str, float]
FirstStage = Callable[[Loaded, Path], pt.Transformer]


@dataclass(frozen=True)
class Settings:
    """What all runs of a folder share.

    Attributes:
        folder: Where everything is written.
        collections: Local collections, or None.
        limit: Only the first queries of each split count; None: all.
        device: Where models run; None: a GPU where there is one.
        dtype: "auto", "float32", "float16" or "bfloat16".
        runs: Dataset -> a file with the first stage's run, for collections too large to index here.
        halves: Whether a collection without development queries may be divided, for a rehearsal.
    """

    folder: Path
    collections: Path | None = None
    limit: int | None = None
    device: str | None = None
    dtype: str = "auto"
    runs: Mapping[str, Path] = field(default_factory=dict)
    halves: bool = False

    @property
    def part(self) -> str:
        """What the names of files have that hold less than the whole."""
        return "" if self.limit is None else f"_first_{self.limit}"


class Workbench:
    """Gives the runs of datasets and systems: those in the folder, and where there is none a new one."""

    def __init__(self, settings: Settings, progress: Progress, first: FirstStage = first_stage) -> None:
        self.settings, self.progress, self._first_stage = settings, progress, first
        # Runs of some queries only must not take the place of the whole ones.
        self.store = RunStore(settings.folder / f"runs{settings.part}")
        self._loaded: dict[Dataset, Loaded] = {}
        self._rows: dict[tuple[Dataset, str], pd.DataFrame] = {}
        self._reranker: tuple[object, TaskArithReranker] | None = None
        self._system = ""
        self._runs: dict[str, pd.DataFrame] = {}  # of that system
        self._models: dict[str, dict[str, str]] = {}
        #: (dataset, split) -> what a report must say of its first stage.
        self.remarks: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        """Lets other processes have the folder."""
        self.store.close()

    def data(self, dataset: Dataset) -> Loaded:
        """Returns a dataset's queries and judgements."""
        if dataset not in self._loaded:
            self._loaded[dataset] = load(dataset, self.settings.collections, limit=self.settings.limit,
                                         halves=self.settings.halves)
        return self._loaded[dataset]

    def first(self, dataset: Dataset, split: str) -> pd.DataFrame:
        """Returns the first stage's run of a split: qid, query, docno, text, score, rank."""
        if (dataset, split) not in self._rows:
            self._rows[dataset, split] = self._make_first(dataset, split)
        return self._rows[dataset, split]

    def _make_first(self, dataset: Dataset, split: str) -> pd.DataFrame:
        loaded, name = self.data(dataset), self.first_name(dataset, split)
        topics, given = loaded.topics[split], self.settings.runs.get(dataset.name)
        how = {"model": BM25, "k1": K1, "b": B, "depth": DEPTH} if given is None else {
            "run": sha256(given), "depth": DEPTH}
        recipe = {"format": FORMAT, "dataset": dataset.name, "split": split, "documents": loaded.source,
                  "queries": _digest(topics.to_numpy().tolist()), "language": dataset.language,
                  "first_stage": how,
                  "versions": {"pyterrier": version("pyterrier")}}
        if not self.store.has(name, recipe):
            start = time.perf_counter()
            index = self.settings.folder / "indexes"
            stage = self._first_stage(loaded, index) if given is None else stored_run(loaded, given)
            found = stage.transform(topics)
            if not len(found):
                raise DataError(f"the first stage found nothing for the {len(topics)} {split} queries of "
                                 f"{dataset.name}")
            texts = dict(zip(found["docno"], found["text"], strict=True))
            self.store.put(name, recipe, {RUN: run_bytes(found, BM25), TEXTS: texts_bytes(texts)},
                           {"queries": len(topics), "pairs": len(found)})
            self.progress.say(f"{dataset.name} {split}, {BM25}: {len(topics)} queries, {len(found)} documents in "
                              f"{time.perf_counter() - start:.1f} s")
        run, texts = self.store.run(name), self.store.texts(name)
        if given is not None:
            self.remarks[dataset.name, split] = stored_in_words(loaded, split, given, run)
        queries = dict(zip(topics["qid"], topics["query"], strict=True))
        return with_scores(run.assign(query=run["qid"].map(queries), text=run["docno"].map(texts)), run["score"])

    def find(self, systems: Sequence[System], targets: Sequence[str]) -> None:
        """Finds the files of all models, so that a missing or a gated one is told before anything is computed."""
        for system in systems:
            for target in dict.fromkeys(targets):
                for model in (system.ranker, system.domains[target], system.base):
                    _ = Checkpoint(model.source).located

    def expect(self, system: System, dataset: Dataset, split: str, runs: int) -> None:
        """Tells how many runs of a system will be asked for, so that the time left can be told."""
        cost = self._cost(system, self.first(dataset, split))
        for _ in range(runs):
            self.progress.expect(cost)

    def neural(self, system: System, dataset: Dataset, split: str, variant: str, alpha: Alpha | None = None,
               ) -> pd.DataFrame:
        """Returns the run of one model, by itself: qid, docno, score.

        Args:
            system: The system.
            dataset: The dataset.
            split: "dev" or "test".
            variant: Θ_0, Θ_D or Θ_T; anything else is Θ' at ``alpha``.
            alpha: Of Θ'.
        """
        if system.name != self._system:
            self._system = system.name
            self._runs.clear()
        name = self.name(system, dataset, split, variant, alpha)
        if name not in self._runs:
            self._runs[name] = self._make_neural(name, system, dataset, split, variant, alpha)
        return self._runs[name]

    def _make_neural(self, name: str, system: System, dataset: Dataset, split: str, variant: str,
                     alpha: Alpha | None) -> pd.DataFrame:
        rows = self.first(dataset, split)
        cost = self._cost(system, rows)
        recipe = self._recipe(system, dataset, split, variant, alpha)
        if self.store.has(name, recipe):
            self.progress.has(cost)
        else:
            start = time.perf_counter()
            reranker = self._at(system, dataset.target, variant, alpha)
            reranker.model.forget()  # so that a run's last bits do not depend on which runs were made before it
            scored = reranker.transform(rows)
            self.store.put(name, recipe, {RUN: run_bytes(scored, f"{system.name}/{name.rpartition('/')[2]}")},
                           {"scorer": reranker.model.scorer.facts, "pairs": len(scored)})
            self.progress.made(name, len(rows), cost, time.perf_counter() - start)
        return self.store.run(name)

    def reranker(self, system: System, target: str) -> TaskArithReranker:
        """Returns a system's re-ranker at α = 1; one is kept in memory, the last."""
        key = (system.name, target)
        if self._reranker is None or self._reranker[0] != key:
            self._reranker = None  # before the next one is loaded
            made = TaskArithReranker(**system.options(target), device=self.settings.device,  # type: ignore[arg-type]
                                     dtype=self.settings.dtype, verbose=False)
            self._reranker = key, made
        return self._reranker[1]

    def _at(self, system: System, target: str, variant: str, alpha: Alpha | None) -> TaskArithReranker:
        reranker = self.reranker(system, target)
        if variant in VARIANTS:
            return reranker.copy(variant=VARIANTS[variant])
        return reranker.copy(alpha=alpha)

    def first_name(self, dataset: Dataset, split: str) -> str:
        """Returns the name of the first stage's run in the store."""
        return f"{slug(dataset.name)}/{split}/bm25"

    def name(self, system: System, dataset: Dataset, split: str, variant: str, alpha: Alpha | None) -> str:
        """Returns the name of a model's run in the store."""
        kind = f"theta_{variant[2:].lower()}" if variant in VARIANTS else f"alpha_{alpha_in_words(alpha)}"
        return f"{slug(dataset.name)}/{split}/{slug(system.name)}/{slug(kind)}"

    def _recipe(self, system: System, dataset: Dataset, split: str, variant: str, alpha: Alpha | None,
                ) -> dict[str, Any]:
        models = {"ranker": system.ranker, "domain": system.domains[dataset.target], "base": system.base}
        tokens = system.token_false, system.token_true
        device = self.settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return {
            "format": FORMAT, "dataset": dataset.name, "split": split, "system": system.name,
            "variant": VARIANTS.get(variant, "merged"), "alpha": None if variant in VARIANTS else alpha,
            "first_stage": self.store.digest(self.first_name(dataset, split)),
            "models": {role: self._about(model) for role, model in models.items()},
            "scorer": {"name": system.scorer, "truncation": system.truncation, "max_length": system.max_length,
                       "prediction_tokens": None if tokens == (None, None) else tokens},
            "device": device.partition(":")[0], "dtype": self.settings.dtype, "versions": versions(SCORING)}

    def _about(self, model: Model) -> dict[str, str]:
        """Returns a model's name, and what its files hold."""
        if model.source not in self._models:
            checkpoint = Checkpoint(model.source)
            files = [(path.name, sha256(path)) for path in checkpoint.companions()]
            self._models[model.source] = {"name": str(model), "weights": checkpoint.fingerprint,
                                          "files": _digest(files)}
        return self._models[model.source]

    def _cost(self, system: System, rows: pd.DataFrame) -> float:
        """Returns what a run costs, in an arbitrary unit: pairs × bytes of the model."""
        return len(rows) * float(sum(file.path.stat().st_size for file in Checkpoint(system.ranker.source).files))


def alpha_in_words(alpha: Alpha | None) -> str:
    """Returns α as part of a file's name: "0.7", or "default=0,encoder.3=0.7"."""
    if isinstance(alpha, dict):
        return "_".join(f"{layers}-{value:g}" for layers, value in alpha.items())
    return f"{alpha:g}"


def _digest(value: list[Any]) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
