"""The loaded model that all variants of a re-ranker share: weights set in place, scores remembered."""

import copy
import hashlib
import json
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyterrier as pt
import torch

from pyterrier_taskarith._meaning import differing, meaning
from pyterrier_taskarith._score_cache import CachedSetting, ScoreCache
from pyterrier_taskarith.arithmetic import (
    Alpha,
    CheckpointDifference,
    LoadedWeights,
    Merge,
    MergePlan,
    TaskVector,
    WeightSetting,
    make_plan,
)
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CacheError, ScorerError, WrongTypeError
from pyterrier_taskarith.scorers._bi_encoder import BiEncoder
from pyterrier_taskarith.scorers._detect import make_scorer
from pyterrier_taskarith.scorers._residence import choose_residence
from pyterrier_taskarith.scorers._scorer import Memo, Scorer, ScorerOptions, digest, renew_memos

T = TypeVar("T")
#: Bytes of scores that are kept in memory, some 160,000.
MEMO_BYTES = 48 * 2**20
#: Bytes at the start of a key that stand for the setting; the others stand for query and text.
HEAD = 16
#: Loaded models by their sources and options, so that variants and copies with another α share one.
_MODELS: "weakref.WeakValueDictionary[tuple[object, ...], LoadedModel]" = weakref.WeakValueDictionary()
_MODELS_LOCK = threading.Lock()
#: Version of what the scorers compute from given weights, query and text; part of the key of scores on disk. Raise it
#: with every change that gives other scores: tests/scorers/test_golden.py notices one.
SCORING = 2
#: Packages whose versions are part of that key: they tokenise, and compute hidden states. PyTorch's version changes no
#: score by more than SCORE_TOLERANCE.
PACKAGES = ("tokenizers", "transformers")


class LoadedModel:
    """A loaded module, the models that its weights come from, and the scores that it has given."""

    def __init__(self, ranker: Checkpoint, vectors: Mapping[str, TaskVector], alphas: Mapping[str, Alpha], *,
                 scorer: str = "auto", dtype: str = "auto", device: str | None = None, weights: str = "auto",
                 cache: str | None = None, verbose: bool = True, **options: Any) -> None:
        """Plans the merge, then loads the module.

        Args:
            ranker: Θ_T.
            vectors: Task vectors by name.
            alphas: The first α; layers that the model lacks are refused before it is loaded.
            scorer: "auto" or a scorer's name.
            dtype: "auto", "float32", "float16" or "bfloat16".
            device: Such as "cpu" or "cuda:0"; None: a GPU where there is one.
            weights: "auto", "memory" or "disk": where Θ_T and τ are kept.
            cache: Folder of scores kept between processes, or None.
            verbose: Whether to show progress.
            options: Further attributes of :class:`ScorerOptions`: ``batch_tokens``, ``max_length``, ``truncation``,
                ``token_false``, ``token_true``.

        Raises:
            MergeError, CheckpointError, ScorerError: If the models do not fit each other or the scorer, or an α by
                layers the models.
            CacheError: If the cache cannot be made or opened.
        """
        self.dtype = dtype
        # First: a folder that cannot be written to should not cost the loading of a model.
        self._cache = ScoreCache(cache) if cache is not None else None
        self._failed: set[str] = set()
        self.plan: MergePlan = make_plan(ranker, vectors)
        self.plan.check_alphas(alphas)
        torch_device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.scorer: Scorer = make_scorer(ranker, scorer, ScorerOptions(
            self._torch_dtype(torch_device), torch_device, verbose=verbose, filled=False, **options))
        self.residence = choose_residence(weights, self.plan, torch_device)
        if verbose and weights == "auto" and self.residence.choice == "disk":
            pt.tqdm.write(f"weights: {self.residence}; each change of α reads the files", file=sys.stderr)
        self.weights = LoadedWeights(self.scorer.module, self.plan, self.residence.choice)
        self._memo: Memo[float] = Memo(MEMO_BYTES, entry_overhead=340)
        self._settings = _digest(_companions(ranker, vectors))
        self._lock = threading.RLock()

    def score(self, setting: WeightSetting, queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """Scores pairs with the weights of a setting; a pair is scored once, as long as the memo holds it.

        Args:
            setting: Which weights.
            queries: n strings.
            texts: n strings.

        Returns:
            float32 array of n scores, in the order given.

        Raises:
            ScorerError: If a score is not finite.
        """
        setting = setting.normal
        with self._lock:
            keys = self._keys(setting, queries, texts)
            known = {key: score for key in keys if (score := self._memo.get(key)) is not None}
            missing = {key: index for index, key in enumerate(keys) if key not in known}
            if self._cache is not None and missing:
                cached = self._in_words(setting, next(iter(missing))[:HEAD])
                found = self._kept("read", lambda cache: cache.get(cached, [key[HEAD:] for key in missing])) or {}
                for key in [key for key in missing if key[HEAD:] in found]:
                    known[key] = score = found[key[HEAD:]]
                    self._memo.put(key, score, 8)
                    del missing[key]
            if missing:
                self._refuse_other_meaning(setting)
                self.weights.set(setting)
                indices = list(missing.values())
                scores = self.scorer.score([queries[index] for index in indices], [texts[index] for index in indices],
                                           setting)
                self._check(scores, setting)
                new = dict(zip(missing, map(float, scores), strict=True))
                for key, score in new.items():
                    self._memo.put(key, score, 8)
                if self._cache is not None:
                    self._kept("written", lambda cache: cache.put(
                        cached, [(key[HEAD:], score) for key, score in new.items()]))
                known.update(new)
            return np.fromiter((known[key] for key in keys), dtype=np.float32, count=len(keys))

    def embed(self, setting: WeightSetting, queries: Sequence[str],
              texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Embeds queries and texts with the weights of a setting, where the scorer is a bi-encoder.

        Args:
            setting: Which weights.
            queries: n distinct strings.
            texts: m distinct strings.

        Returns:
            float32 arrays (n, d) and (m, d).

        Raises:
            WrongTypeError: If the scorer has no embeddings.
            ScorerError: If an embedding is not finite.
        """
        if not isinstance(self.scorer, BiEncoder):
            raise WrongTypeError(f"a {type(self.scorer).__name__} scores pairs and has no embeddings; a bi-encoder has")
        setting = setting.normal
        with self._lock:
            self._refuse_other_meaning(setting)
            self.weights.set(setting)
            embeddings = (self.scorer.embed("query", queries, setting), self.scorer.embed("document", texts, setting))
        for found in embeddings:
            self._check(found.sum(axis=-1), setting, "embeddings")
        return embeddings

    @contextmanager
    def caching(self, cache: ScoreCache) -> Iterator[None]:
        """Within it, scores are read from and written to this cache in place of the model's own."""
        with self._lock:
            before, self._cache = self._cache, cache
            self._failed.clear()
        try:
            yield
        finally:
            with self._lock:
                self._cache = before

    def renew(self) -> None:
        """Makes the model usable in a child process that was forked while another thread used it."""
        self._lock = threading.RLock()
        self.weights.renew()

    def _kept(self, action: str, use: Callable[[ScoreCache], T]) -> T | None:
        """Uses the cache; where that fails it is not tried again, and the scoring goes on without."""
        if self._cache is None or action in self._failed:
            return None
        try:
            return use(self._cache)
        except CacheError as error:
            self._failed.add(action)
            warnings.warn(f"{error}. The scoring goes on; no score is {action} there any more", stacklevel=2)
            return None

    def forget(self) -> None:
        """Forgets scores and embeddings, so that those to come do not depend on what was scored before.

        In other batches, scores of equal pairs may differ in their last bits; after this, the same call gives the same
        bits.
        """
        with self._lock:
            self._memo.clear()
            self.scorer.forget()

    def _refuse_other_meaning(self, setting: WeightSetting) -> None:
        """Refuses to score with Θ_D or Θ_0 where its configuration makes other scores of its weights than Θ_T's."""
        kind, name = self._kind(setting)
        difference = self.plan.vectors[name].difference if kind in ("domain", "base") else None
        if difference is None:
            return
        checkpoint = getattr(difference, kind)
        differ = differing(self.plan.ranker.config, checkpoint.config, meaning)
        if differ:
            raise ScorerError(f"variant={setting.variant!r}: {checkpoint.source} computes differently from "
                              f"{self.plan.ranker.source}: {'; '.join(differ)} (config.json), and all variants are "
                              "scored with Θ_T's configuration")

    def _check(self, scores: np.ndarray, setting: WeightSetting, what: str = "scores") -> None:
        bad = int((~np.isfinite(scores)).sum())
        if bad:
            raise ScorerError(f"{self.plan.ranker.source}: {bad} of {len(scores)} {what} are NaN or infinite with "
                              f"{setting}; "
                              f"a dtype with a larger range may help (dtype={self.dtype!r} now)")

    def _keys(self, setting: WeightSetting, queries: Sequence[str], texts: Sequence[str]) -> list[bytes]:
        head = hashlib.blake2b(json.dumps(self._identity(setting), default=str).encode(), digest_size=HEAD).digest()
        digests = {text: digest(text) for text in {*queries, *texts}}
        return [head + digests[query] + digests[text] for query, text in zip(queries, texts, strict=True)]

    def _identity(self, setting: WeightSetting) -> list[object]:
        """Returns what a score depends on beside query and text; for a cache on disk, by hashes of all files."""
        if self._cache is None:
            return [setting.variant, setting.alphas]
        kind, name = self._kind(setting)
        parts: list[object] = [SCORING, *map(version, PACKAGES), self.scorer.facts, self.plan.ranker.fingerprint,
                               self._settings, kind]
        if kind == "merged":
            parts += [(alpha, self.plan.vectors[vector].fingerprint) for vector, alpha in setting.alphas]
        elif kind != "ranker":
            parts.append(self.plan.vectors[name].fingerprint)
        return parts

    def _kind(self, setting: WeightSetting) -> tuple[str, str]:
        """Returns a setting's variant and the vector that it is of: the only one where it names none."""
        kind, _, name = setting.variant.partition(".")
        return kind, name or next(iter(self.plan.vectors), "")

    def _in_words(self, setting: WeightSetting, head: bytes) -> CachedSetting:
        """Returns the setting as the cache stores and shows it."""
        ranker, vectors = self.plan.ranker, self.plan.vectors
        kind, name = self._kind(setting)
        weights = "Θ_T"
        if kind == "merged":
            alphas = dict(setting.alphas)
            merge = Merge(ranker, {name: vectors[name] for name in alphas}, alphas)
            weights += str(merge).removeprefix(ranker.source)
        elif kind != "ranker":
            checkpoint = getattr(vectors[name].difference, kind)
            weights = f"{'Θ_D' if kind == 'domain' else 'Θ_0'} = {checkpoint.source}"
        facts = self.scorer.facts
        length = f", {facts['max_length']} tokens" if facts.get("max_length") else ""
        scorer = f"{facts['scorer']}, {str(facts['dtype']).removeprefix('torch.')}{length}"
        return CachedSetting(head, ranker.source, weights, scorer)

    def _torch_dtype(self, device: torch.device) -> torch.dtype:
        if self.dtype != "auto":
            return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[self.dtype]
        if device.type == "cpu":
            return torch.float32
        ranker = self.plan.ranker
        return next((dtype for dtype in map(ranker.dtype, ranker.shapes) if dtype.is_floating_point), torch.float32)


def shared_model(ranker: Checkpoint, vectors: Mapping[str, TaskVector], alphas: Mapping[str, Alpha],
                 **options: Any) -> LoadedModel:
    """Returns the loaded model of these files as they are now, or loads it; see :class:`LoadedModel`.

    Raises:
        MergeError, CheckpointError, ScorerError, CacheError: As LoadedModel does.
    """
    with _MODELS_LOCK:
        # Fresh ones: a user's vector may remember headers and hashes of files that have changed since.
        checkpoint, fresh = Checkpoint(ranker), copy.deepcopy(dict(vectors))
        files = [*(file.path for file in checkpoint.files), *_companions(checkpoint, fresh),
                 *(path for vector in fresh.values() for term in vector.terms for path in term.difference.paths())]
        key = (ranker.source, ranker.trust_config, str(fresh), frozenset(options.items()), tuple(map(_stamp, files)))
        model = _MODELS.get(key)
        if model is None:
            model = _MODELS[key] = LoadedModel(checkpoint, fresh, alphas, **options)
        return model


def _after_fork() -> None:
    """Lets a forked child score: other threads of the parent may have held locks, and changed weights, at that moment.

    PyTorch's threads are not forked, and a child that waits for them hangs, so that it gets one thread.
    """
    global _MODELS_LOCK
    _MODELS_LOCK = threading.Lock()
    renew_memos()
    models = list(_MODELS.values())
    for model in models:
        model.renew()
    if models:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_after_fork)


def _companions(ranker: Checkpoint, vectors: Mapping[str, TaskVector]) -> list[Path]:
    """Returns the files beside the weights that decide a score, of all checkpoints."""
    parts = [part for vector in vectors.values() for term in vector.terms for part in term.difference.parts()]
    checkpoints = [checkpoint for part in parts if isinstance(part, CheckpointDifference)
                   for checkpoint in (part.domain, part.base)]
    return [path for checkpoint in (ranker, *checkpoints) for path in checkpoint.companions()]


def _digest(paths: list[Path]) -> str:
    """Returns one hash of the files' names and contents, whatever folder they are in."""
    parts = [(path.name, hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()) for path in paths]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _stamp(path: Path) -> tuple[str, int, int, int]:
    """Returns a value that changes when the file does."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino
