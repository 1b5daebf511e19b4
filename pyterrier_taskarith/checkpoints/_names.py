"""One canonical name per parameter, whatever wrapper or head model wrote the file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyterrier_taskarith.families import HEADS, Family, family_of

_WRAPPERS = re.compile(r"^(?:module\.|0\.auto_model\.|auto_model\.|0\.model\.)+")
_BUFFERS = re.compile(r"(?:^|\.)(?:position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|rotary_emb\.\w+)$")
_LEGACY = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))


@dataclass(frozen=True)
class Names:
    """How the names of one file set map to canonical ones.

    Attributes:
        parameters: Canonical name -> the names in the files that hold it; more than one where a file repeats a tied
            matrix.
        buffers: Names in the files that are not parameters (position ids, rotary frequencies).
        ignored: Names in the files that the model does not use.
    """

    parameters: Mapping[str, tuple[str, ...]]
    buffers: tuple[str, ...]
    ignored: tuple[str, ...]


def is_head(name: str) -> bool:
    """Returns whether a canonical name belongs to a head rather than to the bare backbone."""
    return name.split(".")[0] in HEADS


def ties_embeddings(config: Mapping[str, Any]) -> bool:
    """Returns whether the output matrix is the token embedding, by the configuration or the family's default."""
    return bool(config.get("tie_word_embeddings", family_of(str(config["model_type"])).ties))


def own_output(config: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Returns whether the files hold an output matrix that is the model's own though the configuration ties it.

    transformers 5 writes ``tie_word_embeddings: true`` into every mT5 and T5 configuration. mT5 and T5 1.1, which it
    then marks by ``scale_decoder_outputs: false``, have an output matrix of their own wherever their files hold one,
    and so transformers 5 loads them; 4.x would tie it. Elsewhere the configuration is believed.

    Args:
        config: The checkpoint's ``config.json``.
        names: Every tensor name in the files.
    """
    family = family_of(str(config["model_type"]))
    untied = family.own_output or config.get("scale_decoder_outputs") is False
    return untied and any(canonical(name, family, tied=False) == family.output for name in names)


def canonical(name: str, family: Family, tied: bool) -> str:
    """Returns the bare backbone's name for a name as a file has it.

    Args:
        name: Such as ``bert.encoder.layer.0.output.LayerNorm.gamma``.
        family: The facts of its model type.
        tied: Whether the output matrix is the token embedding.
    """
    name = _WRAPPERS.sub("", name)
    if family.prefix:
        name = name.removeprefix(family.prefix)
    for old, new in _LEGACY:
        if name.endswith(old) or name == old[1:]:
            name = name.removesuffix(old[1:]) + new[1:]
    if tied and name == family.output:
        return family.embedding
    return family.tied.get(name, name)


def map_names(names: Iterable[str], config: Mapping[str, Any]) -> Names:
    """Maps the names of a checkpoint's files to canonical names.

    Args:
        names: Every tensor name in the files.
        config: The checkpoint's ``config.json``.
    """
    family, tied = family_of(str(config["model_type"])), ties_embeddings(config)
    ignore = re.compile(family.ignored or r"(?!)")
    parameters: dict[str, list[str]] = {}
    buffers, ignored = [], []
    for name in names:
        if _BUFFERS.search(name):
            buffers.append(name)
        elif ignore.fullmatch(name):
            ignored.append(name)
        else:
            parameters.setdefault(canonical(name, family, tied), []).append(name)
    return Names({k: tuple(v) for k, v in parameters.items()}, tuple(buffers), tuple(ignored))
