"""A re-ranker's arguments: whether it knows them, and what they mean."""

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyterrier_taskarith.arithmetic import DEFAULT, Alpha, LayerAlphas, Layers, TaskVector, as_alpha
from pyterrier_taskarith.scorers import SCORERS, TRUNCATIONS

#: The one vector of a re-ranker made from ``domain`` and ``base``.
DOMAIN = "domain"
#: Argument -> what may be chosen.
CHOICES = {
    "scorer": ("auto", *SCORERS),
    "truncation": TRUNCATIONS,
    "dtype": ("auto", "float32", "float16", "bfloat16"),
    "resident": ("auto", "memory", "stream"),
}


def check_options(given: Mapping[str, Any]) -> None:
    """Checks the arguments that are about scoring.

    Raises:
        ValueError: If one is none of its choices, or of another kind.
    """
    for name, choices in CHOICES.items():
        if given[name] not in choices:
            raise ValueError(f"{name}={given[name]!r}: choose one of {', '.join(choices)}")
    for name in ("batch_tokens", "max_length"):
        value = given[name]
        if value is not None and (not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name}={value!r}: must be a whole number of tokens, or None")
    words = given["prediction_tokens"]
    if words is not None and (not isinstance(words, tuple) or len({*words}) != 2 or len(words) != 2
                              or not all(isinstance(word, str) for word in words)):
        raise ValueError(f"prediction_tokens={words!r}: give two tokens, not relevant and relevant, such as "
                         "('▁no', '▁yes')")
    if given["text_loader"] is not None and not callable(given["text_loader"]):
        raise ValueError(f"text_loader={given['text_loader']!r}: give a transformer that adds texts to a frame of "
                         "docnos, such as pt.text.get_text(dataset, 'text')")


def check_variant(variant: str, vectors: Sequence[str]) -> None:
    """Checks which weights are asked for.

    Raises:
        ValueError: If they are none of a re-ranker with these vectors.
    """
    kind, dot, vector = variant.partition(".")
    if kind not in ("merged", "ranker", "domain", "base") or (
            dot and (kind not in ("domain", "base") or vector not in vectors)):
        raise ValueError(f"variant={variant!r}: choose 'merged', 'ranker', 'domain' or 'base' "
                         "(of one of several vectors: 'domain.name')")


def used_vectors(vectors: TaskVector | Mapping[str, TaskVector] | None, domain: str | None, base: str | None,
                 layers: str | None) -> dict[str, TaskVector]:
    """Returns the task vectors by name, restricted to the layers that are asked for.

    Raises:
        ValueError: If one is something else, or the layers are no list of layers.
    """
    if vectors is None:
        found = {DOMAIN: TaskVector(domain or "", base or "")}
    else:
        found = dict(vectors) if isinstance(vectors, Mapping) else {DOMAIN: vectors}
        for name, vector in found.items():
            if not isinstance(vector, TaskVector):
                raise ValueError(f"{name if isinstance(vectors, Mapping) else 'vectors'} is {vector!r}: give a "
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
        ValueError: If it is something else, or names other vectors.
    """
    if isinstance(value, Mapping) and DEFAULT not in value and (by_name or set(value) <= set(vectors)):
        unknown = [name for name in value if name not in vectors]
        absent = [name for name in vectors if name not in value]
        if unknown or absent:
            raise ValueError(f"alpha must name each of {list(vectors)}: unknown {unknown}, absent {absent}")
        return {name: as_alpha(value[name], name) for name in vectors}
    return as_alpha(value)


def short_name(source: str | None) -> str | None:
    """Returns a source as a name to read: of an absolute path, the last two parts."""
    path = Path(source or "")
    return f"…/{'/'.join(path.parts[-2:])}" if path.is_absolute() and len(path.parts) > 3 else source


def as_written(alpha: Alpha) -> float | dict[str, float]:
    """Returns α as a user writes it."""
    return alpha.to_dict() if isinstance(alpha, LayerAlphas) else alpha
