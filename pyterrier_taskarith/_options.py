"""Checks and reads the arguments of a re-ranker."""

import numbers
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pyterrier_taskarith.arithmetic import DEFAULT, Alpha, LayerAlphas, Layers, TaskVector, as_alpha
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers import SCORERS, TRUNCATIONS

#: The one vector of a re-ranker made from ``domain`` and ``base``.
DOMAIN = "domain"
#: Argument -> what may be chosen.
CHOICES = {
    "scorer": ("auto", *SCORERS),
    "truncation": TRUNCATIONS,
    "dtype": ("auto", "float32", "float16", "bfloat16"),
    "weights": ("auto", "memory", "disk"),
}


def check_options(given: Mapping[str, Any]) -> None:
    """Checks the arguments that are about scoring.

    Raises:
        ScorerError: If one is not one of its choices, or of another type.
    """
    for name, choices in CHOICES.items():
        if given[name] not in choices:
            raise ScorerError(f"{name}={given[name]!r}: choose one of {', '.join(choices)}")
    for name in ("batch_tokens", "max_length"):
        value = given[name]
        if value is not None and (not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1):
            raise ScorerError(f"{name}={value!r}: must be a whole number of tokens, or None")
    for name in ("token_false", "token_true"):
        if given[name] is not None and not (isinstance(given[name], str) and given[name]):
            raise ScorerError(f"{name}={given[name]!r}: give a token of the model's tokenizer, such as '▁true'")
    if given["token_false"] is not None and given["token_false"] == given["token_true"]:
        raise ScorerError(f"token_false and token_true are both {given['token_true']!r}: give two tokens")
    if given["text_loader"] is not None and not callable(given["text_loader"]):
        raise ScorerError(f"text_loader={given['text_loader']!r}: give a transformer that adds texts to a frame of "
                         "docnos, such as pt.text.get_text(dataset, 'text')")


def read_tokens(pair: Sequence[str] | None, false: str | None, true: str | None) -> tuple[str | None, str | None]:
    """Returns the prediction tokens, given as a pair or one by one.

    Raises:
        ScorerError: If they are given as both, or the pair is not two texts.
    """
    if pair is None:
        return false, true
    if (false, true) != (None, None):
        raise ScorerError("give either token_false and token_true, or prediction_tokens")
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ScorerError(f"prediction_tokens={pair!r}: give two tokens, not relevant and relevant: "
                          "token_false='▁no', token_true='▁yes'")
    return pair[0], pair[1]


def read_residence(weights: str, resident: str | None) -> str:
    """Returns where weights are kept, by ``weights`` or by its former name ``resident``."""
    if resident is None:
        return weights
    weights = "disk" if resident == "stream" else resident
    warnings.warn(f"resident={resident!r} is now weights={weights!r}", DeprecationWarning, stacklevel=3)
    return weights


def check_variant(variant: str, vectors: Sequence[str]) -> None:
    """Checks which weights are asked for.

    Raises:
        ScorerError: If a re-ranker with these vectors does not have them.
    """
    kind, dot, vector = variant.partition(".")
    if kind not in ("merged", "ranker", "domain", "base") or (
            dot and (kind not in ("domain", "base") or vector not in vectors)):
        raise ScorerError(f"variant={variant!r}: choose 'merged', 'ranker', 'domain' or 'base' "
                         "(of one of several vectors: 'domain.name')")


def used_vectors(vectors: TaskVector | Mapping[str, TaskVector] | None, domain: Checkpoint | None,
                 base: Checkpoint | None, layers: str | None) -> dict[str, TaskVector]:
    """Returns the task vectors by name, restricted to the layers that are asked for.

    Raises:
        ScorerError: If one is something else, or the layers are not a list of layers.
    """
    if domain is not None and base is not None:
        found = {DOMAIN: TaskVector(domain, base)}
    else:
        found = dict(vectors) if isinstance(vectors, Mapping) else {DOMAIN: cast(TaskVector, vectors)}
        for name, vector in found.items():
            if not isinstance(vector, TaskVector):
                raise ScorerError(f"{name if isinstance(vectors, Mapping) else 'vectors'} is {vector!r}: give a "
                                 "TaskVector, or TaskVectors by name")
    if layers is None:
        return found
    Layers(layers)
    return {name: vector.layers(layers) for name, vector in found.items()}


def read_alpha(value: object, vectors: Sequence[str], *, by_name: bool) -> Alpha | dict[str, Alpha]:
    """Reads α as a user gives it.

    Args:
        value: A number; by layers, a mapping with "default"; a mapping by vector.
        vectors: The vectors' names.
        by_name: Whether the user named them, so that a mapping without "default" is by vector.

    Raises:
        ScorerError: If it is something else, or names other vectors.
    """
    if isinstance(value, Mapping) and DEFAULT not in value and (by_name or set(value) <= set(vectors)):
        unknown = [name for name in value if name not in vectors]
        absent = [name for name in vectors if name not in value]
        if unknown or absent:
            raise ScorerError(f"alpha must name each of {list(vectors)}: unknown {unknown}, absent {absent}")
        return {name: as_alpha(value[name], name) for name in vectors}
    return as_alpha(value)


def as_written(alpha: Alpha) -> float | dict[str, float]:
    """Returns α as a user writes it."""
    return alpha.to_dict() if isinstance(alpha, LayerAlphas) else alpha
