"""TaskArithReranker: task arithmetic as a PyTerrier transformer."""

import tempfile
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith._identity import Configured
from pyterrier_taskarith._options import (
    as_written,
    check_options,
    check_variant,
    read_alpha,
    read_residence,
    read_tokens,
    used_vectors,
)
from pyterrier_taskarith.arithmetic import Merge, MergePlan, TaskVector, WeightSetting, make_plan
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.data import TextLoader, check_columns, load_texts, portions, strings
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.fusion import with_scores
from pyterrier_taskarith.scorers import LoadedModel, Residence, explain, shared_model
from pyterrier_taskarith.tables import Table

Source = str | Path | Checkpoint


class TaskArithReranker(Configured):
    """Re-ranks with Θ' = Θ_T + α(Θ_D − Θ_0) (paper, eq. 2).

    Nothing is loaded until the first frame with rows. Setting ``alpha`` only marks the weights as stale.

    Example:
        >>> r = TaskArithReranker("castorini/monot5-base-msmarco", "razent/SciFive-base-Pubmed_PMC",
        ...                       "google-t5/t5-base", alpha=0.7)                     # doctest: +SKIP
        >>> bm25 >> pt.text.get_text(dataset, "text") >> Mix(r, weight=0.5)           # doctest: +SKIP
    """

    TUNABLE = ("alpha",)
    schematic = {"label": "TaskArith", "help_url": "https://doi.org/10.1145/3726302.3730216"}

    def __init__(self, ranker: Source, domain: Source | None = None, base: Source | None = None,
                 alpha: float | Mapping[str, Any] = 1.0, *,
                 vectors: TaskVector | Mapping[str, TaskVector] | None = None, variant: str = "merged",
                 scorer: str = "auto", layers: str | None = None,
                 truncation: str = "keep_prompt", token_false: str | None = None, token_true: str | None = None,
                 prediction_tokens: tuple[str, str] | None = None, dtype: str = "auto", device: str | None = None,
                 batch_tokens: int | None = None, max_length: int | None = None, text_field: str = "text",
                 text_loader: TextLoader | None = None,
                 weights: str = "auto", resident: str | None = None, cache: str | Path | None = None,
                 trust_config: bool = False, verbose: bool = True) -> None:
        """Names the models: either ``domain`` and ``base``, or ``vectors``.

        Args:
            ranker: Θ_T: a hub id ``org/name[@revision]``, a folder, a weight file, or a Checkpoint.
            domain: Θ_D.
            base: Θ_0.
            alpha: α, any finite real number; by layers, ``{"default": 0.7, "layers 8-11": 1.0, "embeddings": 0}``; with
                several vectors, one of these for all or one by name.
            vectors: Task vectors by name, or one vector; ``{}`` scores with the ranker as it is (a merged folder).
            variant: "merged", or "ranker", "domain", "base" to score with Θ_T, Θ_D, Θ_0 by the same function (with
                several vectors, "domain.name" and "base.name"). :meth:`variants` sets it.
            scorer: "auto", "bi-encoder", "cross-encoder", "seq2seq" or "causal".
            layers: Restricts the task vector to layers, such as "0-5" or "decoder.3,embeddings".
            truncation: Of a prompt that is too long: "keep_prompt" cuts the text, as pyterrier_t5 and RankingGPT do;
                "paper" is the paper's evaluation: T5's prompt cut from the right, for causal models 256 tokens of text
                and 128 of query.
            token_false: Of a T5 model, the token that means not relevant, such as "▁no"; None: the one known of the
                model, or the usual one of its type (with a warning).
            token_true: The token that means relevant, such as "▁yes"; None as before.
            prediction_tokens: Both as a pair; kept as ``token_false`` and ``token_true``.
            dtype: "auto" (float32 on a CPU, the checkpoint's own on a GPU), "float32", "float16" or "bfloat16".
            device: Such as "cpu" or "cuda:0"; None: a GPU where there is one.
            batch_tokens: Tokens in a batch, padding included; None: by the device.
            max_length: Tokens of an input; None: what the model states.
            text_field: The column with the text.
            text_loader: What gives texts by docno, such as ``pt.text.get_text(dataset, "text")``: a transformer, or
                another callable, that adds the text column to a frame of docnos. It is asked for some 4,096 rows at a
                time while they are scored, so that a long frame needs no texts in memory; frames need no text column.
            weights: "memory" keeps Θ_T and τ in float32 beside the loaded weights, "disk" reads their files at each
                change of α, "auto" takes "memory" where both fit in half of what is free on the device once the model
                is loaded; :attr:`residence` tells what it chose.
            resident: The former name of ``weights``, with "stream" for "disk"; deprecated.
            cache: Folder where scores are kept between processes. Those of a frame are written once all of it is
                scored; a frame that was interrupted is scored again as a whole, in the same batches to the same bits.
            trust_config: Of a folder that names code of its own for its model (``auto_map``), whether transformers'
                own class is wanted in its place; that code is never run, and such a folder is refused else.
            verbose: Whether to show progress.

        Raises:
            ScorerError: If an argument is not one of these.
        """
        opened = partial(Checkpoint, trust_config=trust_config)
        tuned = opened(ranker)
        new, old = (None if source is None else opened(source) for source in (domain, base))
        self.trust_config = any(model is not None and model.trust_config for model in (tuned, new, old))
        self.ranker = tuned.source
        self.domain, self.base = (None if model is None else model.source for model in (new, old))
        self.vectors = dict(vectors) if isinstance(vectors, Mapping) else vectors
        if (domain is None) != (base is None) or (domain is None) == (vectors is None):
            raise ScorerError("give either both domain (Θ_D) and base (Θ_0), or vectors; to score with a model as it "
                              "is, such as a merged folder: vectors={}")
        self.layers = layers
        self._vectors_used = used_vectors(self.vectors, new, old, layers)
        self.variant, self.scorer, self.truncation, self.dtype = variant, scorer, truncation, dtype
        self.weights, self.resident = read_residence(weights, resident), None
        self.device = None if device is None else str(device)
        self.batch_tokens, self.max_length = batch_tokens, max_length
        self.token_false, self.token_true = read_tokens(prediction_tokens, token_false, token_true)
        self.prediction_tokens = None
        self.text_field, self.text_loader, self.verbose = text_field, text_loader, verbose
        if cache is not None and not isinstance(cache, str | Path):
            raise ScorerError(f"cache={cache!r}: give a folder, such as cache='scores', or leave it out to keep none")
        self.cache = None if cache is None else str(cache)
        check_options(vars(self))
        self.batch_tokens, self.max_length = (None if n is None else int(n) for n in (batch_tokens, max_length))
        check_variant(variant, list(self._vectors_used))
        # Shared by variants and copies with another α, so that whichever scores first loads the model for all.
        self._loaded: list[LoadedModel] = []
        self.alpha = alpha

    @property
    def alpha(self) -> Any:
        """The scaling factor α as it was given; a new value takes effect at the next frame with rows.

        A number; by layers, a dict with "default"; with several vectors, a number for all or a dict by name.
        """
        if isinstance(self._alpha, dict):
            return {name: as_written(alpha) for name, alpha in self._alpha.items()}
        return as_written(self._alpha)

    @alpha.setter
    def alpha(self, value: Any) -> None:
        new = read_alpha(value, list(self._vectors_used), by_name=isinstance(self.vectors, dict))
        if not self._vectors_used and new != 1:
            raise ScorerError(f"alpha={value!r}: without a vector α does nothing; leave it out")
        if self.variant != "merged" and getattr(self, "_alpha", new) != new:
            raise ScorerError(f"α does nothing to variant={self.variant!r}; set it on the merged re-ranker, Θ'")
        alphas = new if isinstance(new, dict) else dict.fromkeys(self._vectors_used, new)
        for model in self._loaded:
            model.plan.check_alphas(alphas)
        self._alpha, self._alphas = new, alphas

    def get_parameter(self, name: str) -> Any:
        """Returns an argument, or ``alpha.name`` of one vector."""
        kind, _, vector = name.partition(".")
        if kind == "alpha" and vector in self._vectors_used:
            return as_written(self._alphas[vector])
        return super().get_parameter(name)

    def set_parameter(self, name: str, value: Any) -> None:
        """Sets an argument, or ``alpha.name`` of one vector."""
        kind, _, vector = name.partition(".")
        if kind == "alpha" and vector in self._vectors_used:
            self.alpha = {**self._alphas, vector: value}
        elif name == "alpha":
            self.alpha = value
        elif name in self.configuration():
            raise ScorerError(f"{name} cannot be changed on an existing re-ranker; use r.copy({name}=…)")
        else:
            super().set_parameter(name, value)

    @property
    def vector_names(self) -> list[str]:
        """The task vectors' names, by which each may have an α of its own."""
        return list(self._vectors_used)

    @property
    def setting(self) -> WeightSetting:
        """Which weights this re-ranker scores with."""
        alphas = tuple(self._alphas.items()) if self.variant == "merged" else ()
        return WeightSetting(self.variant, alphas)

    @property
    def _tuned(self) -> Checkpoint:
        """Θ_T, with nothing remembered of its files."""
        return Checkpoint(self.ranker, trust_config=self.trust_config)

    @property
    def plan(self) -> MergePlan:
        """What the merge does to every parameter of Θ_T; made without reading weights."""
        return self._loaded[0].plan if self._loaded else make_plan(self._tuned, self._vectors_used)

    @property
    def model(self) -> LoadedModel:
        """The loaded model; loaded by the first use, shared with variants and copies."""
        if not self._loaded:
            self._loaded[:] = [shared_model(
                self._tuned, self._vectors_used, self._alphas, scorer=self.scorer, dtype=self.dtype,
                device=self.device, weights=self.weights, cache=self.cache, verbose=self.verbose,
                batch_tokens=self.batch_tokens, max_length=self.max_length, truncation=self.truncation,
                token_false=self.token_false, token_true=self.token_true)]
        return self._loaded[0]

    @property
    def residence(self) -> Residence:
        """Whether Θ_T and τ are kept in memory or read from disk, and why; loads the model."""
        return self.model.residence

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores every row; rows, index, order and other columns stay.

        Args:
            inp: qid, docno, query and, without a ``text_loader``, the text column.

        Returns:
            The frame with ``score`` (float) and ``rank``.

        Raises:
            pt.validate.InputValidationError: If a column is missing.
            DataError: If a text or query is not a string or cannot be loaded (with the docnos).
            MergeError, CheckpointError, ScorerError: If the models do not fit each other or the scorer.
        """
        check_columns("the frame", inp)
        pt.validate.result_frame(inp, extra_columns=self.columns[2:], context=self)
        if not len(inp):
            return with_scores(inp, [])
        if "query_0" in inp.columns:
            warnings.warn("the frame has a rewritten query (query_0): the re-ranker sees the rewritten one, often "
                          "without its punctuation. Put pt.rewrite.reset() before the re-ranker", stacklevel=2)
        return with_scores(inp, self._scores(inp))

    def _scores(self, inp: pd.DataFrame) -> np.ndarray:
        setting = self.setting  # read once: another thread may set α while the portions below are scored
        if self.text_loader is None:
            return self.model.score(setting, *self.strings(inp))
        scores, queries = np.empty(len(inp), dtype=np.float32), strings(inp, "query")
        for rows in portions(inp["docno"]):
            texts = load_texts(self.text_loader, inp["docno"].iloc[rows], self.text_field)
            scores[rows] = self.model.score(setting, [queries[row] for row in rows], texts)
        return scores

    def strings(self, inp: pd.DataFrame) -> tuple[list[str], list[str]]:
        """Returns the query and the text of every row; where there is a ``text_loader``, it loads all texts.

        Raises:
            DataError: If one is not a string (with the docnos).
        """
        texts = strings(inp, self.text_field) if self.text_loader is None else load_texts(
            self.text_loader, inp["docno"], self.text_field)
        return strings(inp, "query"), texts

    @property
    def columns(self) -> list[str]:
        """The columns that a frame needs."""
        return ["qid", "docno", "query", *([self.text_field] if self.text_loader is None else [])]

    def explain(self) -> Table:
        """Returns what is read of each model and from which file: print it, or show it in a notebook.

        The rows are settings: weight files, class, activation, positions, tokenizer and special tokens of every model,
        and what decides how Θ_T scores (pooling or head, prompts, lengths, prediction tokens). Loads the model.

        Raises:
            MergeError, CheckpointError, ScorerError: If the models do not fit each other or the scorer.
        """
        return explain(self.plan, self.model.scorer)

    def variants(self) -> dict[str, "TaskArithReranker"]:
        """Returns Θ_0, Θ_D, Θ_T and Θ' as re-rankers that share one loaded model and one tokenisation.

        With several vectors there is a Θ_0 and a Θ_D for each; a vector that is not a plain Θ_D − Θ_0 has neither.
        """
        if not self._vectors_used:
            return {"Θ_T": self.copy(variant="ranker")}
        several = len(self._vectors_used) > 1
        found = {f"{symbol}.{name}" if several else symbol: f"{kind}.{name}" if several else kind
                 for symbol, kind in (("Θ_0", "base"), ("Θ_D", "domain"))
                 for name, vector in self._vectors_used.items() if vector.difference is not None}
        return {symbol: self.copy(variant=variant)
                for symbol, variant in {**found, "Θ_T": "ranker", "Θ'": "merged"}.items()}

    def copy(self, **changed: object) -> "TaskArithReranker":
        """Returns a re-ranker with some arguments changed; it shares the loaded model if only α or the variant is."""
        made = super().copy(**changed)
        if set(changed) <= {"alpha", "variant"}:
            made._loaded = self._loaded
            for model in made._loaded:
                model.plan.check_alphas(made._alphas)
        return made

    def save(self, folder: str | Path, *, dtype: str | None = None, shard_size: str | int | None = None,
             overwrite: bool = False) -> Path:
        """Writes Θ' at the present α as an ordinary model folder.

        Args:
            folder: Where; one that holds this very merge is left as it is.
            dtype: "float32", "float16" or "bfloat16"; None keeps each parameter's dtype in Θ_T.
            shard_size: Largest weight file, as bytes or like "5GB".
            overwrite: Whether a folder that holds another merge, and nothing else, is replaced.

        Raises:
            ScorerError: If the variant is not "merged".
            MergeError: If the models do not fit each other, or the folder holds something else.
            OSError: If the disk is full or read-only; nothing is left behind then.
        """
        if self.variant != "merged":
            raise ScorerError(f"variant={self.variant!r} is a published model already; only 'merged' is saved")
        merge = Merge(self._tuned, self._vectors_used, self._alphas)
        return merge.save(folder, dtype=dtype, shard_size=shard_size, overwrite=overwrite, verbose=self.verbose)

    def to_monot5(self) -> pt.Transformer:
        """Returns pyterrier_t5's ``MonoT5ReRanker`` with the weights of Θ' at the present α, in float32.

        Raises:
            ScorerError: If the ranker is not a T5 model, or the variant is not "merged".
        """
        from pyterrier_t5 import MonoT5ReRanker

        if self._tuned.config["model_type"] != "t5":
            raise ScorerError(f"{self.ranker} is not a T5 model, and MonoT5ReRanker scores with T5 alone; "
                              "r.save(folder) writes the merged model for other libraries")
        with tempfile.TemporaryDirectory() as folder:
            path = str(self.save(Path(folder) / "merged", dtype="float32"))
            made: pt.Transformer = MonoT5ReRanker(tok_model=path, model=path, text_field=self.text_field,
                                                  device=self.device, verbose=self.verbose)
            for name, token in (("NREL", self.token_false), ("REL", self.token_true)):
                if token is not None:
                    tokenizer: Any = vars(made)["tokenizer"]
                    setattr(made, name, tokenizer.convert_tokens_to_ids(token))
            return made
