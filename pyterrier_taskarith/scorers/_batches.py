"""Length-sorted batches under a token budget, and the loop that runs them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyterrier as pt
import torch

from pyterrier_taskarith._parallel import run_parallel

logger = logging.getLogger("pyterrier_taskarith")

#: Tokens in a batch, padding included. Small batches stay in a CPU's caches; a GPU wants to be filled.
CPU_TOKENS, GPU_TOKENS = 2048, 32768
#: Most batches side by side on a CPU; each has its own activations.
MAX_WORKERS = 8


def token_batches(lengths: Sequence[int] | np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Yields int64 arrays of positions: sorted by length, longest first, rows × longest row ≤ budget.

    A row longer than the budget gets a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start:start + rows]
        start += rows


def pad(rows: Sequence[np.ndarray], pad_id: int, device: torch.device, *,
        left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns token ids and attention mask, both int64 (rows, longest), padded on the right, or on the left."""
    longest = max(1, *(len(row) for row in rows))
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for position, row in enumerate(rows):
        columns = slice(longest - len(row), None) if left else slice(len(row))
        ids[position, columns] = row
        mask[position, columns] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def run_batches(lengths: Sequence[int], budget: int, step: Callable[[np.ndarray], None], *, workers: int = 1,
                verbose: bool = False, label: str = "", unit: str = "texts") -> int:
    """Runs a step over all positions in batches; where a GPU is out of memory, halves the budget and continues.

    Args:
        lengths: Tokens of each item.
        budget: Tokens a batch.
        step: Called with the positions of one batch; must be repeatable, and safe in several threads at once where
            there are several workers.
        workers: Batches computed side by side, each on its share of the threads. On a CPU this beats splitting every
            small product over all threads, most of all where other processes want the cores too.
        verbose: Whether to show a progress bar.
        label: Its caption.
        unit: What it counts.

    Returns:
        The budget that worked.

    Raises:
        torch.cuda.OutOfMemoryError: If a single item does not fit.
    """
    sizes, left = np.asarray(lengths, dtype=np.int64), np.arange(len(lengths))
    with pt.tqdm(total=len(lengths), desc=label, unit=unit, leave=False, delay=1,
                 disable=None if verbose and len(lengths) else True) as bar:
        def run(batch: np.ndarray) -> np.ndarray:
            step(batch)
            return batch

        def finish(batch: np.ndarray) -> None:
            done.append(batch)
            bar.update(len(batch))

        while len(left):
            done: list[np.ndarray] = []
            batches = [left[batch] for batch in token_batches(sizes[left], budget)]
            try:
                if workers == 1 or len(batches) == 1:
                    for batch in batches:
                        finish(run(batch))
                else:
                    run_parallel((partial(run, batch) for batch in batches), finish, workers=workers)
                return budget
            except torch.cuda.OutOfMemoryError:
                left = np.setdiff1d(left, np.concatenate(done)) if done else left
                longest = int(sizes[left].max())
                if budget <= longest:
                    raise
                budget = max(budget // 2, longest)
            # Here, as the error held on to the failed batch's tensors.
            torch.cuda.empty_cache()
            logger.warning("out of GPU memory: going on with batches of %d tokens", budget)
    return budget
