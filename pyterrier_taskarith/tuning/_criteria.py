"""What is read from scores without judgements, and the α that several such criteria agree on."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

#: Where the re-ranker's and the first stage's rankings are compared.
DEPTH = 10


def reciprocal_ranks(qids: np.ndarray, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the reciprocal rank of each query's target; of equal scores it takes the middle place.

    Args:
        qids: Query of each row.
        target: bool, True in one row of each query.
        scores: Score of each row.

    Returns:
        float64, one a query, in the order of first rows.
    """
    codes, count = _codes(qids)
    aim = np.empty(count)
    aim[codes[target]] = scores[target]
    above = np.bincount(codes, scores > aim[codes], count)
    tied = np.bincount(codes, scores == aim[codes], count) - 1
    return 1 / (1 + above + tied / 2)


def overlaps(qids: np.ndarray, first: np.ndarray, scores: np.ndarray, depth: int = DEPTH) -> np.ndarray:
    """Returns the share of the first stage's top documents that are in the re-ranker's top, for each query.

    Args:
        qids: Query of each row.
        first: The first stage's score of each row.
        scores: The re-ranker's.
        depth: How many documents are the top; all, where a query has fewer.

    Returns:
        float64 in [0, 1], one a query, in the order of first rows.
    """
    codes, count = _codes(qids)
    sizes = np.bincount(codes, minlength=count)
    both = _top(codes, sizes, first, depth) & _top(codes, sizes, scores, depth)
    return np.bincount(codes, both, count) / np.minimum(sizes, depth)


def _codes(qids: np.ndarray) -> tuple[np.ndarray, int]:
    codes, distinct = pd.factorize(qids)
    return codes, len(distinct)


def _top(codes: np.ndarray, sizes: np.ndarray, scores: np.ndarray, depth: int) -> np.ndarray:
    """Returns, as bool, which rows are among their query's best; of equal scores the earlier rows are."""
    order = np.lexsort((-scores, codes))
    place = np.empty(len(codes), dtype=np.int64)
    place[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return place < depth


def z_scores(means: np.ndarray) -> np.ndarray:
    """Returns each row of values over α with mean 0 and standard deviation 1; 0 where α changes nothing.

    Args:
        means: (…, α) float.
    """
    centred = means - means.mean(axis=-1, keepdims=True)
    deviation = centred.std(axis=-1, keepdims=True)
    # Equal values can differ in the last bit after averaging; that is no curve.
    flat = deviation <= 1e-12 * np.abs(means).max(axis=-1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=~flat)


def best(alphas: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Returns the α with the highest sum, row by row; of equal sums the smallest |α|.

    Args:
        alphas: (α,) float.
        sums: (…, α) float.
    """
    nearest = np.argsort(np.abs(alphas), kind="stable")
    return alphas[nearest[np.argmax(sums[..., nearest], axis=-1)]]


def resampled(alphas: np.ndarray, criteria: Mapping[str, np.ndarray], resamples: int, seed: int) -> np.ndarray:
    """Returns the α chosen when each criterion's queries are drawn anew, with replacement.

    Args:
        alphas: (α,) float.
        criteria: Name -> (queries, α) values.
        resamples: How many times.
        seed: Of the draws.

    Returns:
        float64 (resamples,).
    """
    random = np.random.default_rng([seed, *b"bootstrap"])
    sums = np.zeros((resamples, len(alphas)))
    for values in criteria.values():
        count = len(values)
        drawn = random.multinomial(count, np.full(count, 1 / count), size=resamples)
        sums += z_scores(drawn @ values / count)
    return best(alphas, sums)
