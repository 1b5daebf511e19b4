"""The base class of scorers, their options, and a memory of bounded size for what they have computed."""

import hashlib
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError, library_errors
from pyterrier_taskarith.scorers._batches import CPU_TOKENS, GPU_TOKENS, MAX_WORKERS, run_batches

#: Scores of one pair agree to this, absolute and relative, between batches, numbers of threads, caches and residences.
#: The same computation on the same batch gives the same bits.
SCORE_TOLERANCE = 1e-6
#: Bytes of token ids that a scorer keeps.
MEMO_BYTES = 32 * 2**20
#: Texts that are tokenised in one call: the output for a long one may take 200 KB before it is cut.
TOKENISED_AT_ONCE = 1024
#: Ways to cut a prompt that is too long; each scorer with a prompt says what it does.
TRUNCATIONS = ("keep_prompt", "paper")

#: What classes of transformers call a table of learned positions.
POSITION_TABLES = ("position_embeddings", "position_embedding", "wpe", "embed_positions")

Value = TypeVar("Value")


def digest(text: str) -> bytes:
    """Returns 16 bytes that stand for a text in a key, so that a memo does not keep the text itself."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


#: All memos of this process.
_MEMOS: "weakref.WeakSet[Memo[Any]]" = weakref.WeakSet()


def renew_memos() -> None:
    """Makes all memos usable in a child process that was forked while other threads used them."""
    for memo in list(_MEMOS):
        memo.renew()


class Memo(Generic[Value]):
    """A mapping of bounded size, from which the least recently used entries are dropped; safe between threads."""

    def __init__(self, max_bytes: int, entry_overhead: int = 370) -> None:
        """Makes an empty memo.

        Args:
            max_bytes: What all entries together may take.
            entry_overhead: Bytes counted for an entry beside ``size`` (key, node, object headers); measured.
        """
        self.max_bytes, self.entry_overhead = max_bytes, entry_overhead
        self.renew()
        _MEMOS.add(self)

    def renew(self) -> None:
        """Empties the memo, and makes its lock anew: a forked child has it as another thread of the parent held it."""
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Returns the value and marks it as used, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Stores a value of ``size`` bytes and drops the least recently used ones that no longer fit."""
        size += self.entry_overhead
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self._bytes -= old[1]
            self._entries[key] = value, size
            self._bytes += size
            while self._bytes > self.max_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self._bytes -= freed

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0


@dataclass(frozen=True)
class ScorerOptions:
    """Options of a scorer.

    Attributes:
        dtype: Of the loaded weights and the computation.
        device: Where it runs.
        batch_tokens: Tokens in a batch, padding included; None: by the device.
        max_length: Tokens of an input, special ones included; None: what the model states.
        truncation: "keep_prompt" or "paper", for scorers with a prompt.
        token_false: Of a seq2seq model, the token that means not relevant; None: as known of the model.
        token_true: The token that means relevant; None: as known of the model.
        verbose: Whether to show progress.
        filled: Whether the module gets the checkpoint's weights at once; False where they are set before it scores.
    """

    dtype: torch.dtype
    device: torch.device
    batch_tokens: int | None = None
    max_length: int | None = None
    truncation: str = "keep_prompt"
    token_false: str | None = None
    token_true: str | None = None
    verbose: bool = False
    filled: bool = True

    def __post_init__(self) -> None:
        if self.truncation not in TRUNCATIONS:
            raise ScorerError(f"truncation={self.truncation!r}: choose 'keep_prompt' (cut the text) or 'paper' (cut as "
                              "the paper's evaluation does)")


class Scorer:
    """Scores pairs of query and text with the module's present weights.

    Attributes:
        module: The loaded module; :meth:`score` must be told which weights it has.
        pairs_scored: How many pairs were scored so far.
    """

    def __init__(self, checkpoint: Checkpoint, module: torch.nn.Module, options: ScorerOptions) -> None:
        self.checkpoint, self.options = checkpoint, options
        self.module: Any = module
        self.tokenizer: Any = checkpoint.tokenizer()
        self._check_tokenizer()
        on_cpu = options.device.type == "cpu"
        self.budget = options.batch_tokens or (CPU_TOKENS if on_cpu else GPU_TOKENS)
        self._workers = min(MAX_WORKERS, torch.get_num_threads()) if on_cpu else 1
        self.pairs_scored = 0
        self._tokens: Memo[np.ndarray] = Memo(MEMO_BYTES)

    @property
    def pad_id(self) -> int:
        """The token that fills the rows of a batch.

        It is the configuration's own, by which the head of a causal model finds the last token of a text. Attention
        never sees it, so any other will do where there is none.
        """
        rows, tokenizer = self.module.get_input_embeddings().weight.shape[0], self.tokenizer
        ids = (self.module.config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
        return next((number for number in ids if number is not None and 0 <= number < rows), 0)

    def _check_tokenizer(self) -> None:
        """Refuses a tokenizer that cannot read unknown characters, or puts tokens into texts that the model lacks."""
        folder, rows = self.checkpoint.tokenizer_folder, self.module.get_input_embeddings().weight.shape[0]
        try:
            ids = self.tokenizer("a \U0010ffff")["input_ids"]
        except Exception as error:  # the tokenizers library raises plain ones
            raise ScorerError(f"{folder}: its tokenizer cannot read a text with an unknown character ({error})"
                              ) from error
        if max(ids, default=0) >= rows:
            token = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise ScorerError(f"{folder}: its tokenizer gives the token {token!r} the number {max(ids)}, but the "
                              f"model has embeddings for 0 to {rows - 1} alone; is it another model's tokenizer?")
        padding = getattr(getattr(self.module.base_model, "embeddings", None), "padding_idx", None)
        ends = {self.tokenizer.cls_token_id, self.tokenizer.sep_token_id, self.tokenizer.eos_token_id} - {None}
        if padding in ends:
            raise ScorerError(f"{self.checkpoint.config_file}: pad_token_id = {padding} is also "
                              f"{self.tokenizer.convert_ids_to_tokens(padding)!r} of its tokenizer; this model counts "
                              "positions from the tokens that are not padding, so that it would count wrongly")

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Scores each query with the text of the same index.

        Args:
            queries: n strings.
            texts: n strings.
            weights: A name of the module's present weights, by which embeddings are kept.

        Returns:
            float32 array of n scores, in the order given; higher is better.
        """
        raise NotImplementedError

    def forget(self) -> None:
        """Forgets what was computed with the module's weights; tokens, which do not depend on them, are kept."""

    def tokens(self, kind: str, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the token ids of each text, int32; a text is tokenised once, whatever the weights.

        Args:
            kind: What the text is; the scorer's :meth:`_tokenise` treats kinds differently.
            texts: Distinct or not.
        """
        found = {text: self._tokens.get((kind, digest(text))) for text in texts}
        new = [text for text, ids in found.items() if ids is None]
        for start in range(0, len(new), TOKENISED_AT_ONCE):
            part = new[start:start + TOKENISED_AT_ONCE]
            words = f"{self.checkpoint.tokenizer_folder}: its tokenizer cannot read the texts"
            with library_errors(words, ScorerError):
                rows = self._tokenise(kind, part)
            for text, ids in zip(part, rows, strict=True):
                found[text] = row = np.asarray(ids, dtype=np.int32)
                self._tokens.put((kind, digest(text)), row, row.nbytes)
        return [found[text] for text in texts]  # type: ignore[misc]

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        raise NotImplementedError

    def _run(self, lengths: Sequence[int], step: Callable[[np.ndarray], None], label: str = "scoring",
             unit: str = "pairs") -> None:
        """Runs a step over batches of all positions and keeps the budget that worked; see :func:`run_batches`."""
        self.budget = run_batches(lengths, self.budget, step, workers=self._workers, verbose=self.options.verbose,
                                  label=label, unit=unit)

    def _input_length(self, stated: int | None, *, pair: bool = False) -> int:
        """Returns the tokens of an input, special ones included, as sentence-transformers decides it.

        Args:
            stated: What the folder states; None: the tokenizer and the model's configuration state it.
            pair: Whether the input is a pair of texts.

        Raises:
            ScorerError: If the user asked for more than there are positions, or no text would be read.
        """
        # XLNet's -1 means any length, as does the lack of the key, which its class may know by another name.
        positions = int(getattr(self.module.config, "max_position_embeddings", None) or -1)
        default = int(self.tokenizer.model_max_length)
        default = default if positions == -1 else min(default, positions)
        usable = usable_positions(self.module)
        asked, special = self.options.max_length, self.tokenizer.num_special_tokens_to_add(pair=pair)
        limit = asked if asked is not None else stated or default
        if limit <= special or (asked is not None and usable is not None and asked > usable):
            raise ScorerError(f"max_length={limit}: {self.checkpoint.source} has "
                              f"{'any number of' if usable is None else usable} positions, and {special} of them go to "
                              "special tokens")
        return min(limit, sys.maxsize if usable is None else usable)

    def _lower_case(self) -> None:
        """Makes the tokenizer lower-case texts first, as sentence-transformers does where a folder asks for it."""
        own = self.tokenizer.backend_tokenizer
        own.normalizer = Normalizers([Lowercase(), *([own.normalizer] if own.normalizer else [])])

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights; part of the key under which scores are kept."""
        return {"scorer": type(self).__name__, "dtype": str(self.options.dtype)}

    @property
    def origins(self) -> dict[str, str]:
        """Where :attr:`facts` come from: fact -> file or argument; the others are defaults."""
        return {"scorer": "layout of the folder", "dtype": "argument, or the device's default",
                "max_length": "argument" if self.options.max_length is not None else "tokenizer and config.json"}


def usable_positions(module: Any) -> int | None:
    """Returns how many tokens a model has learned positions for; None where positions are relative or computed.

    RoBERTa's and MPNet's table begins with the padding's positions, BART's with two that no token has.
    """
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Embedding) and name.rsplit(".", 1)[-1] in POSITION_TABLES:
            padding = getattr(getattr(module.base_model, "embeddings", None), "padding_idx", None)
            unused = getattr(part, "offset", 0) if padding is None else int(padding) + 1
            return part.num_embeddings - int(unused)
    return None
