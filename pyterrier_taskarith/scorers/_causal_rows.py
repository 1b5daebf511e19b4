"""Rows of a causal model: a document, then the tokens of one query or of several that do not see each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

#: A row with several queries has at most this many tokens, or twice its document's: attention grows with the square.
SHARED_TOKENS = 1024
#: Logits computed at once: 32 MB in float32.
LOGITS = 2**23


@dataclass(frozen=True)
class Prompt:
    """Token ids of a pair.

    Attributes:
        ids: int32, document and query.
        start: Where the query's tokens begin: after as many as ``Document: {text} Query:`` has alone.
    """

    ids: np.ndarray
    start: int


@dataclass(frozen=True)
class Row:
    """One row of a batch.

    Attributes:
        head: int32, the tokens before the query.
        tails: int32 each, the tokens of each query; none is empty.
        indices: The pair of each tail.
    """

    head: np.ndarray
    tails: list[np.ndarray]
    indices: list[int]

    def __len__(self) -> int:
        # No logits are needed after a query's last token.
        return len(self.head) + sum(len(tail) - 1 for tail in self.tails)


@dataclass(frozen=True)
class Batch:
    """Rows as tensors.

    Attributes:
        ids: int64 (rows, longest), padded on the right.
        mask: Added to the attention's scores, (rows, 1, longest, longest); None where every row has one query.
        positions: int64 (rows, longest), or None likewise.
        sources: int64 (s,), the flat positions before the queries' tokens.
        picks: int64 (t,), ascending: the index in ``sources`` of the position before each token.
        targets: int64 (t,), the tokens.
        owners: int64 (t,), the tail that each belongs to.
    """

    ids: torch.Tensor
    mask: torch.Tensor | None
    positions: torch.Tensor | None
    sources: torch.Tensor
    picks: np.ndarray
    targets: torch.Tensor
    owners: np.ndarray


def pack(prompts: Sequence[Prompt], longest_shared: float) -> list[Row]:
    """Returns rows for prompts; queries after the same tokens share a row.

    Args:
        prompts: One a pair; those without query tokens get no row.
        longest_shared: The longest row in which queries may share a document; 0 for none.
    """
    groups: dict[bytes, list[int]] = {}
    for index, prompt in enumerate(prompts):
        if prompt.start < len(prompt.ids):
            groups.setdefault(prompt.ids[:prompt.start].tobytes(), []).append(index)
    rows: list[Row] = []
    for indices in groups.values():
        head = prompts[indices[0]].ids[:prompts[indices[0]].start]
        limit = min(max(SHARED_TOKENS, 2 * len(head)), longest_shared)
        row = Row(head, [], [])
        for index in indices:
            tail = prompts[index].ids[prompts[index].start:]
            if row.tails and len(row) + len(tail) - 1 > limit:
                rows.append(row)
                row = Row(head, [], [])
            row.tails.append(tail)
            row.indices.append(index)
        rows.append(row)
    return rows


def batch_of(rows: Sequence[Row], device: torch.device, dtype: torch.dtype) -> Batch:
    """Lays rows out as tensors.

    Args:
        rows: At least one.
        device: Where the tensors go.
        dtype: Of the mask: the module's.
    """
    width = max(map(len, rows))
    ids, positions = np.zeros((2, len(rows), width), dtype=np.int64)
    #: 0 for the document, n for the n-th query, -1 for padding.
    block = np.full((len(rows), width), -1, dtype=np.int64)
    sources: list[np.ndarray] = []
    picks: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    asked = tails = 0
    for number, row in enumerate(rows):
        parts, flat, here = [row.head, *(tail[:-1] for tail in row.tails)], number * width, np.s_[number, :len(row)]
        lengths, members = [len(part) for part in parts], np.arange(tails, tails + len(row.tails))
        ids[here], block[here] = np.concatenate(parts), np.repeat([0, *members + 1], lengths)
        positions[here] = np.concatenate([np.arange(length) for length in lengths]) + len(row.head) * (block[here] > 0)
        # The document's last token is followed by the first token of each query.
        sources.append(np.arange(flat + len(row.head) - 1, flat + len(row)))
        picks += [np.full(len(row.tails), asked), np.arange(asked + 1, asked + len(sources[-1]))]
        targets += [np.array([tail[0] for tail in row.tails]), *(tail[1:] for tail in row.tails)]
        owners += [members, np.repeat(members, lengths[1:])]
        asked, tails = asked + len(sources[-1]), tails + len(row.tails)
    shared = any(len(row.tails) > 1 for row in rows)
    return Batch(
        ids=torch.from_numpy(ids).to(device),
        mask=_mask(torch.from_numpy(block).to(device), dtype) if shared else None,
        positions=torch.from_numpy(positions).to(device) if shared else None,
        sources=torch.from_numpy(np.concatenate(sources)).to(device), picks=np.concatenate(picks),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)).to(device), owners=np.concatenate(owners))


def _mask(block: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns 0 where a token sees another: earlier ones (and itself) of the document and of its own query."""
    width = block.shape[1]
    earlier = torch.ones(width, width, dtype=torch.bool, device=block.device).tril()
    seen = earlier & ((block[:, None, :] == 0) | (block[:, None, :] == block[:, :, None]))
    mask = torch.zeros(seen.shape, dtype=dtype, device=block.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min).unsqueeze(1)


def token_log_probabilities(output: Any, hidden: torch.Tensor, picks: np.ndarray,
                            targets: torch.Tensor) -> torch.Tensor:
    """Returns the log-probability of each target, softmax in float32, without all logits at once.

    Args:
        output: The layer from hidden states to logits.
        hidden: (s, d).
        picks: int64 (t,), ascending: the hidden state that each target comes after.
        targets: int64 (t,).

    Returns:
        float32 (t,).
    """
    step = max(1, LOGITS // output.weight.shape[0])
    found = []
    for start in range(0, len(hidden), step):
        logits = output(hidden[start:start + step]).float()
        first, last = np.searchsorted(picks, [start, start + step])
        rows = torch.from_numpy(picks[first:last] - start).to(hidden.device)
        found.append(logits[rows, targets[first:last]] - logits.logsumexp(-1)[rows])
    return torch.cat(found)
