"""The base class of scorers, and their options."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers._batches import default_budget, default_workers
from pyterrier_taskarith.scorers._memo import Memo, digest

#: Scores of one pair agree to this, absolute and relative, between batches, numbers of threads, caches and residences.
#: The same computation on the same batch gives the same bits.
SCORE_TOLERANCE = 1e-6
#: For the tokens of texts.
MEMO_BYTES = 32 * 2**20
#: Texts that the tokenizer gets in one call: what it makes of a long one may take 200 KB until it is cut.
TOKENISED_AT_ONCE = 1024
#: Ways to cut a prompt that is too long; each scorer with a prompt says what it does.
TRUNCATIONS = ("keep_prompt", "paper")


@dataclass(frozen=True)
class ScorerOptions:
    """What a user may set of a scorer.

    Attributes:
        dtype: Of the loaded weights and the computation.
        device: Where it runs.
        batch_tokens: Tokens in a batch, padding included; None: by the device.
        max_length: Tokens of an input, special ones included; None: what the model states.
        truncation: "keep_prompt" or "paper", for scorers with a prompt.
        token_false: Of a seq2seq model, the token that means not relevant; None: what is known of the model.
        token_true: The token that means relevant; None: what is known of the model.
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


class Scorer:
    """Scores pairs of query and text with the module's present weights.

    Attributes:
        module: The loaded module; whoever sets its weights must tell :meth:`score` which they are.
        pairs_scored: How many pairs were scored so far.
    """

    def __init__(self, checkpoint: Checkpoint, module: torch.nn.Module, options: ScorerOptions) -> None:
        self.checkpoint, self.options = checkpoint, options
        self.module: Any = module
        self.tokenizer: Any = checkpoint.tokenizer()
        self.budget = options.batch_tokens or default_budget(options.device)
        self.workers = default_workers(options.device)
        self.pairs_scored = 0
        self._tokens: Memo[np.ndarray] = Memo(MEMO_BYTES)

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Scores each query with the text of the same index.

        Args:
            queries: n strings.
            texts: n strings.
            weights: A name of the module's present weights; embeddings are remembered by it.

        Returns:
            float32 array of n scores, in the order given; higher is better.
        """
        raise NotImplementedError

    def forget(self) -> None:
        """Forgets what was computed with the module's weights; tokens stay, which are the same every time."""

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
            for text, ids in zip(part, self._tokenise(kind, part), strict=True):
                found[text] = row = np.asarray(ids, dtype=np.int32)
                self._tokens.put((kind, digest(text)), row, row.nbytes)
        return [found[text] for text in texts]  # type: ignore[misc]

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        raise NotImplementedError

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights; part of the key under which scores are kept."""
        return {"scorer": type(self).__name__, "dtype": str(self.options.dtype)}
