"""Fits the entries of a PEFT adapter's file to the parameters of its base model; what does not fit is an error.

Names in an adapter's file are the base model's, behind ``base_model.model.``, each with what it is: ``lora_A.weight``
(r, inputs) and ``lora_B.weight`` (outputs, r); ``lora_embedding_A`` (r, rows) and ``lora_embedding_B`` (width, r);
``lora_magnitude_vector`` (DoRA, https://arxiv.org/abs/2402.09353); ``base_layer.*`` or nothing for a tensor that takes
the place of the base's; ``token_adapter.trainable_tokens_delta`` for rows that do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pyterrier_taskarith.checkpoints._adapter_config import AdapterConfig
from pyterrier_taskarith.checkpoints._names import canonical, is_head, ties_embeddings
from pyterrier_taskarith.checkpoints._readers import WeightFile
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.families import FAMILIES, family_of

_PREFIX = "base_model.model."
_ENTRY = re.compile(r"(?P<module>.+?)\.(?P<part>lora_\w+(?:\.weight|\.bias)?|token_adapter\.trainable_tokens_delta)")
#: What may be trained of a module -> (the parameter it changes, what of it).
_PARTS = {
    "lora_A.weight": ("weight", "a"), "lora_B.weight": ("weight", "b"), "lora_B.bias": ("bias", "bias"),
    "lora_embedding_A": ("weight", "embedding_a"), "lora_embedding_B": ("weight", "embedding_b"),
    "lora_magnitude_vector": ("weight", "magnitude"), "token_adapter.trainable_tokens_delta": ("weight", "rows"),
}
#: Parts that go together: what each must have, and what it may have.
_SETS: tuple[tuple[set[str], set[str]], ...] = (
    ({"whole"}, set()), ({"a", "b"}, {"whole", "magnitude"}), ({"embedding_a", "embedding_b"}, {"whole", "magnitude"}),
    ({"bias"}, {"whole"}), ({"rows"}, {"whole"}))
#: model_type -> last parts of the modules that are transformers' Conv1D, whose weights lie as (inputs, outputs).
_CONV1D = dict.fromkeys(("gpt2", "openai-gpt", "imagegpt", "decision_transformer"),
                        ("c_attn", "c_proj", "c_fc", "q_attn"))
#: What PEFT puts between a module and its parameters.
_WRAPPERS = ("base_layer", "token_adapter", "modules_to_save")
_GENERATES = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


@dataclass(frozen=True)
class Change:
    """What an adapter does to one parameter.

    Attributes:
        parts: What -> the adapter's name for it: ``whole`` takes the place of the base's tensor; ``a`` and ``b``, or
            ``embedding_a`` and ``embedding_b``, and ``magnitude``; ``bias``; ``rows``.
        scale: What B·A, or the bias, is multiplied by.
        transposed: Whether the weight lies as (inputs, outputs).
        rows: Which rows are replaced.
    """

    parts: Mapping[str, str]
    scale: float = 1.0
    transposed: bool = False
    rows: tuple[int, ...] = ()

    @property
    def replaces(self) -> bool:
        """Whether the adapter only puts another tensor in the place of the base's."""
        return set(self.parts) == {"whole"}


class Fitting:
    """An adapter and its base model.

    Attributes:
        changes: Parameter of the base -> what the adapter does to it.
        added: Parameter that the base lacks -> the adapter's name for it.
    """

    def __init__(self, base: list[WeightFile], adapter: WeightFile, about: AdapterConfig, config: Mapping[str, Any]
                 ) -> None:
        """Fits every entry.

        Args:
            base: Weight files of the base model.
            adapter: The adapter's weight file.
            about: The adapter's configuration.
            config: The base model's configuration.

        Raises:
            CheckpointError: If an entry fits nothing in the base, or cannot be merged exactly.
        """
        self._adapter, self._about = adapter, about
        self._model_type = str(config["model_type"])
        self._family, self._tied = family_of(self._model_type), ties_embeddings(config)
        self._tokens = config.get("vocab_size")
        self._base = {self.key(name): shape for file in base for name, shape in file.shapes().items()}
        self._given = adapter.shapes()
        self.added: dict[str, str] = {}
        self.changes = {key: self._change(key, parts, module) for key, (parts, module) in self._collected().items()}

    def key(self, name: str) -> str:
        """Returns one name a parameter, for a name in the base's files."""
        return canonical(name, self._family, self._tied)

    def _refused(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self._adapter.path}: {message}")

    def _collected(self) -> dict[str, tuple[dict[str, str], str]]:
        """Returns parameter -> (its entries by what they are, the adapter's name of the module)."""
        found: dict[str, tuple[dict[str, str], str]] = {}
        lost: list[str] = []
        for entry in self._given:
            name, module, part = _read(entry)
            if part == "original":
                continue
            key = self.key(name)
            if part is None or key not in self._base and not (part == "whole" and self._about.saves(name)):
                lost.append(entry)
            elif key not in self._base:
                self._once(self.added, name, entry)
            else:
                parts, _ = found.setdefault(key, ({}, module))
                self._once(parts, part, entry)
        if lost:
            raise self._refused(f"{len(lost)} entries fit nothing in the base model {self._about.base!r}: "
                                f"{', '.join(lost[:5])}{' …' if len(lost) > 5 else ''}. Is it the adapter's base?")
        if not found and not self.added:
            raise self._refused("it holds no entry of an adapter")
        return found

    def _once(self, held: dict[str, str], what: str, entry: str) -> None:
        """Notes an entry; a second one for the same parameter (a tied matrix saved twice) must be equal."""
        first = held.setdefault(what, entry)
        if first != entry and not torch.equal(self._adapter.tensor(first), self._adapter.tensor(entry)):
            raise self._refused(f"{first!r} and {entry!r} are one parameter in this architecture, but the adapter has "
                                "different values for them")

    def _change(self, key: str, parts: Mapping[str, str], module: str) -> Change:
        """Checks the entries of one parameter against the base and the adapter's configuration."""
        shape = self._whole(key, parts)
        given = set(parts)
        if not any(needed <= given <= needed | more for needed, more in _SETS):
            raise self._refused(f"{module} has {', '.join(sorted(parts.values()))}: these do not go together")
        if {"a", "embedding_a"} & given:
            return self._low_rank(key, parts, module, shape)
        if "rows" in given:
            rows = self._rows(module)
            if max(rows, default=0) >= shape[0]:
                raise self._refused(f"{module} has {shape[0]} rows, but the adapter trains row {max(rows)}")
            self._must_be(parts, {"rows": (len(rows), *shape[1:])})
            return Change(parts, rows=rows)
        if "bias" in given:
            self._must_be(parts, {"bias": shape})
            return Change(parts, self._about.scale_of(module))
        return Change(parts)

    def _whole(self, key: str, parts: Mapping[str, str]) -> tuple[int, ...]:
        """Returns the shape of a parameter; an adapter may bring an embedding with other rows, or another head."""
        shape = self._base[key]
        if "whole" not in parts:
            return shape
        whole = self._given[parts["whole"]]
        resized = key in (self._family.embedding, self._family.output, *self._family.token_rows)
        if not (whole == shape or is_head(key) or resized and whole[1:] == shape[1:]):
            raise self._refused(f"{parts['whole']!r} has the shape {list(whole)}, in the base model {list(shape)}. "
                                "Is it the adapter's base?")
        return whole

    def _low_rank(self, key: str, parts: Mapping[str, str], module: str, shape: tuple[int, ...]) -> Change:
        self._must_stand_alone(key, module)
        if len(shape) != 2:
            raise self._refused(f"{module} has the shape {list(shape)} in the base model; only matrices are supported")
        if ("magnitude" in parts) != self._about.dora:
            has = "a" if "magnitude" in parts else "no"
            raise self._refused(f"{module} has {has} lora_magnitude_vector, but "
                                f"{self._about.path.name} says use_dora={self._about.dora}")
        first, second = ("embedding_a", "embedding_b") if "embedding_a" in parts else ("a", "b")
        transposed = first == "embedding_a" or self._is_conv1d(module, self._given[parts["a"]], shape)
        outputs, inputs = reversed(shape) if transposed else shape
        rank = self._about.rank_of(module)
        self._must_be(parts, {first: (rank, inputs), second: (outputs, rank), "magnitude": (outputs,)})
        return Change(parts, self._about.scale_of(module), transposed)

    def _must_be(self, parts: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> None:
        for part, shape in shapes.items():
            if part in parts and self._given[parts[part]] != shape:
                raise self._refused(f"{parts[part]!r} has the shape {list(self._given[parts[part]])}, but "
                                    f"{list(shape)} fits the base model and {self._about.path.name}")

    def _must_stand_alone(self, key: str, module: str) -> None:
        """Refuses B·A on one of several matrices that the architecture holds as one: no one matrix is right for all.

        A masked model's embedding may be adapted: the output matrix it is tied to scores nothing in a re-ranker. Of an
        undeclared family it is not known which matrix the output is, so none with a row a token may.
        """
        alone = canonical(f"{module}.weight", self._family, tied=False)
        task = self._about.task_type
        generates = task in _GENERATES or not task and self._family.output in self._family.token_rows
        tied = self._tied and key == self._family.embedding and (alone != key or generates)
        unknown = self._tied and self._model_type not in FAMILIES and self._base[key][0] == self._tokens
        if tied or unknown or key in self._family.tied.values():
            raise self._refused(f"it adapts {module}, which the base model {self._about.base!r} ties to another "
                                "matrix, so no merged matrix is right for both. Train it without the embeddings, or "
                                "untie them")

    def _is_conv1d(self, module: str, a: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Returns whether a weight lies as (inputs, outputs); as in PEFT, a known class overrules fan_in_fan_out."""
        if module.rsplit(".", 1)[-1] in _CONV1D.get(self._model_type, ()):
            return True
        if self._about.fan_in_fan_out and shape[0] == shape[1]:
            raise self._refused(f"{self._about.path.name} says fan_in_fan_out, which {self._model_type!r} models are "
                                f"not known to have, and {module} is square, so its shape does not tell either")
        return self._about.fan_in_fan_out and a[1:] == shape[:1]

    def _rows(self, module: str) -> tuple[int, ...]:
        named = [rows for name, rows in self._about.token_rows.items() if not name or f".{module}".endswith(f".{name}")]
        if len(named) != 1:
            raise self._refused(f"{module} has trained rows, but trainable_token_indices of {self._about.path.name} "
                                "does not say which")
        return named[0]


def _read(entry: str) -> tuple[str, str, str | None]:
    """Returns (parameter of the base, its module, what of it) for a name in an adapter's file; None: unknown."""
    name = entry.removeprefix(_PREFIX)
    match = _ENTRY.fullmatch(name)
    if match:
        parameter, part = _PARTS.get(match["part"], ("weight", None))
        module = match["module"].removesuffix(".base_layer")
        return f"{module}.{parameter}", module, part
    *modules, last = name.split(".")
    if "original_module" in modules:  # what the module was before the one that is saved
        return name, "", "original"
    module = ".".join(part for part in modules if part not in _WRAPPERS)
    return f"{module}.{last}", module, "whole"
