"""A PEFT adapter as weight files: what its base model's files hold, with what the adapter changes.

LoRA and rsLoRA of linear layers, and tensors that are saved whole, are read lazily here; PEFT merges all else. Names in
an adapter's file are the base model's behind ``base_model.model.``, each with what it is: ``lora_A.weight`` (r, inputs)
and ``lora_B.weight`` (outputs, r); ``base_layer.*`` or nothing for a tensor that replaces the base's.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from pyterrier_taskarith.checkpoints._adapter_config import AdapterConfig
from pyterrier_taskarith.checkpoints._header import TensorLocation
from pyterrier_taskarith.checkpoints._readers import WeightFile
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.families import FAMILIES, canonical, family_of, is_head, ties_embeddings

_PREFIX = "base_model.model."
_ENTRY = re.compile(r"(?P<module>.+?)\.(?P<part>lora_\w+(?:\.weight|\.bias)?|token_adapter\.trainable_tokens_delta)")
#: What may be trained of a module -> the parameter that it changes.
_PARTS = {"lora_A.weight": "weight", "lora_B.weight": "weight", "lora_B.bias": "bias", "lora_embedding_A": "weight",
          "lora_embedding_B": "weight", "lora_magnitude_vector": "weight",
          "token_adapter.trainable_tokens_delta": "weight"}
_A, _B = "lora_A.weight", "lora_B.weight"
#: model_type of those whose weights are stored as (inputs, outputs), which PEFT looks up in the class.
_CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
#: What PEFT puts between a module and its parameters.
_WRAPPERS = ("base_layer", "token_adapter", "modules_to_save")
_GENERATES = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


@dataclass(frozen=True)
class LowRank:
    """scale·B·A, which is added to the base's matrix; ``a`` and ``b`` are names in the adapter's file."""

    a: str
    b: str
    scale: float


#: What an adapter does to a parameter: adds B·A, or replaces it by a tensor of its file, or as PEFT merged it.
Change: TypeAlias = "LowRank | str | torch.Tensor"


def adapt(base: list[WeightFile], adapter: WeightFile, about: AdapterConfig, config: Mapping[str, Any]
          ) -> list[WeightFile]:
    """Returns the files of the adapted model: the base's files as the adapter changes them, and what the adapter adds.

    Args:
        base: Weight files of the base model.
        adapter: The adapter's weight file.
        about: The adapter's configuration.
        config: The base model's configuration.

    Raises:
        CheckpointError: If an entry of the adapter fits nothing in the base, or cannot be merged exactly.
        MissingPackageError: If PEFT is needed and not installed.
    """
    fit = _Fit(base, adapter, about, config)
    files: list[WeightFile] = []
    for file in base:
        keys = {name: fit.key(name) for name in file.shapes()}
        changes = {name: fit.changes[key] for name, key in keys.items() if key in fit.changes}
        files.append(AdaptedFile(file, adapter, changes, keys))
    return [*files, AdaptedFile(adapter, adapter, fit.added, fit.added)]


class AdaptedFile(WeightFile):
    """A weight file of the base model, as the adapter changes it, or the tensors that only the adapter has."""

    def __init__(self, file: WeightFile, adapter: WeightFile, changes: Mapping[str, Change], names: Iterable[str]
                 ) -> None:
        self.path = file.path
        self._file, self._adapter, self._changes = file, adapter, changes
        self._shapes = {name: self._shape(name) for name in names}

    def _shape(self, name: str) -> tuple[int, ...]:
        change = self._changes.get(name)
        if isinstance(change, torch.Tensor):
            return tuple(change.shape)
        return self._adapter.shapes()[change] if isinstance(change, str) else self._file.shapes()[name]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape; an embedding may have more rows than the base's."""
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype of :meth:`tensor`: float32 for a sum, so that it is rounded once, at the end."""
        change = self._changes.get(name)
        if change is None:
            return self._file.dtype(name)
        return self._adapter.dtype(change) if isinstance(change, str) else torch.float32

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the base's dtype, which the merged model has by default; the adapter's where the base has none."""
        return self._file.dtype(name) if name in self._file.shapes() else self.dtype(name)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor."""
        change = self._changes.get(name)
        if isinstance(change, LowRank):
            a, b = (self._adapter.tensor(part).to(torch.float32) for part in (change.a, change.b))
            return self._file.tensor(name).to(torch.float32, copy=True).add_(b @ a, alpha=change.scale)
        if isinstance(change, torch.Tensor):
            return change
        return self._file.tensor(name) if change is None else self._adapter.tensor(change)

    def location(self, name: str) -> TensorLocation | None:
        """Returns where on disk a tensor is that a file holds unchanged."""
        change = self._changes.get(name)
        if isinstance(change, str):
            return self._adapter.location(change)
        return self._file.location(name) if change is None else None

    def unmap(self) -> None:
        """Unmaps the base's file and the adapter's."""
        self._file.unmap()
        self._adapter.unmap()

    def close(self) -> None:
        """Closes the base's file and the adapter's."""
        self._file.close()
        self._adapter.close()


class _Fit:
    """Fits the entries of an adapter to the parameters of its base model.

    Attributes:
        changes: Parameter of the base -> what the adapter does to it.
        added: Parameter that the base lacks -> the adapter's name for it.
    """

    def __init__(self, base: list[WeightFile], adapter: WeightFile, about: AdapterConfig, config: Mapping[str, Any]
                 ) -> None:
        self._adapter, self._about = adapter, about
        self._model_type = str(config["model_type"])
        self._family, self._tied = family_of(self._model_type), ties_embeddings(config)
        self._tokens = config.get("vocab_size")
        self._base = {self.key(name): shape for file in base for name, shape in file.shapes().items()}
        self._given = adapter.shapes()
        self.added: dict[str, str] = {}
        self.changes: dict[str, Change] = {}
        others: dict[str, str] = {}
        shapes = dict(self._base)
        for key, (parts, module) in self._collected().items():
            whole = self._whole(key, parts)
            if whole is not None:
                shapes[key] = self._given[whole]
            if any(part.startswith("lora_") and part != "lora_B.bias" for part in parts):
                self._must_stand_alone(key, module)
            change = whole if set(parts) == {"whole"} else self._low_rank(key, parts, module)
            if change is None:
                others[key] = module
            else:
                self.changes[key] = change
        if others:
            from pyterrier_taskarith.checkpoints._adapter_peft import merge_with_peft  # late: it imports transformers

            shapes |= {name: self._given[entry] for name, entry in self.added.items()}
            self.changes |= merge_with_peft(base, adapter, about, config, set(others.values()), set(others), shapes)

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

    def _whole(self, key: str, parts: Mapping[str, str]) -> str | None:
        """Returns the entry that replaces a parameter; it may be an embedding with other rows, or another head."""
        entry = parts.get("whole")
        if entry is not None:
            shape, whole = self._base[key], self._given[entry]
            resized = key in (self._family.embedding, self._family.output, *self._family.token_rows)
            if not (whole == shape or is_head(key) or resized and whole[1:] == shape[1:]):
                raise self._refused(f"{entry!r} has the shape {list(whole)}, in the base model {list(shape)}. "
                                    "Is it the adapter's base?")
        return entry

    def _low_rank(self, key: str, parts: Mapping[str, str], module: str) -> LowRank | None:
        """Returns B·A of a linear layer; None for what PEFT must merge."""
        shape = self._base[key]
        if set(parts) != {_A, _B} or not self._about.plain or self._model_type in _CONV1D or len(shape) != 2:
            return None
        rank = self._about.rank_of(module)
        for entry, fits in ((parts[_A], (rank, shape[1])), (parts[_B], (shape[0], rank))):
            if self._given[entry] != fits:
                raise self._refused(f"{entry!r} has the shape {list(self._given[entry])}, but {list(fits)} fits the "
                                    f"base model and {self._about.path.name}")
        return LowRank(parts[_A], parts[_B], self._about.scale_of(module))

    def _must_stand_alone(self, key: str, module: str) -> None:
        """Refuses B·A on one of several matrices that the architecture holds as one: no one matrix is right for all.

        A masked model's embedding may be adapted: the output matrix it is tied to scores nothing in a re-ranker. Of an
        undeclared family it is not known which matrix the output is, so none with one row per token may.
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


def _read(entry: str) -> tuple[str, str, str | None]:
    """Returns (parameter of the base, its module, what of it) for a name in an adapter's file; None: unknown."""
    name = entry.removeprefix(_PREFIX)
    match = _ENTRY.fullmatch(name)
    if match:
        module = match["module"].removesuffix(".base_layer")
        known = match["part"] in _PARTS
        return f"{module}.{_PARTS.get(match['part'], 'weight')}", module, match["part"] if known else None
    *modules, last = name.split(".")
    if "original_module" in modules:  # what the module was before the one that is saved
        return name, "", "original"
    module = ".".join(part for part in modules if part not in _WRAPPERS)
    return f"{module}.{last}", module, "whole"
