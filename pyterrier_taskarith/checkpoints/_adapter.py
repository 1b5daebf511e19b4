"""A PEFT adapter as weight files: what its base model's files hold, with what the adapter changes.

LoRA and rsLoRA of linear layers, and tensors that are saved whole, are read lazily here; PEFT merges all else. Names in
an adapter's file are the base model's behind ``base_model.model.``, each with what it is: ``lora_A.weight`` (r, inputs)
and ``lora_B.weight`` (outputs, r); ``base_layer.*`` or nothing for a tensor that replaces the base's.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from pyterrier_taskarith.checkpoints._adapter_config import AdapterConfig, read_entry
from pyterrier_taskarith.checkpoints._config import adapted_config, check_layers
from pyterrier_taskarith.checkpoints._header import TensorLocation
from pyterrier_taskarith.checkpoints._readers import WeightFile
from pyterrier_taskarith.errors import CheckpointError, MissingPackageError, library_errors, some
from pyterrier_taskarith.families import canonical, family_of, is_head, ties_embeddings

_A, _B = "lora_A.weight", "lora_B.weight"
#: Model types whose weights are stored as (inputs, outputs); PEFT reads that from the layer's class.
_CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
#: Names of embeddings and outputs that PEFT's ``ensure_weight_tying`` is about.
_TIED = ("embed_tokens", "lm_head")
_GENERATES = ("CAUSAL_LM", "SEQ_2_SEQ_LM")
#: PEFT's name of a task -> the class that it is trained with.
_CLASSES = {"FEATURE_EXTRACTION": "AutoModel", "SEQ_CLS": "AutoModelForSequenceClassification",
            "CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}


@dataclass(frozen=True)
class LowRank:
    """scale·B·A, which is added to the base's matrix; ``a`` and ``b`` are names in the adapter's file."""

    a: str
    b: str
    scale: float


#: A change of a parameter: B·A is added, a tensor of the adapter's file replaces it, or PEFT merged it.
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
            if (any(part.startswith("lora_") and part != "lora_B.bias" for part in parts)
                    or whole and key == self._family.embedding and about.saves(f"{module}.weight")
                    and not (about.tied and module.rpartition(".")[2] in _TIED) and not self._replaces_all(key)):
                self._must_stand_alone(key, module)
            change = whole if set(parts) == {"whole"} else self._low_rank(key, parts, module)
            if change is None:
                others[key] = module
            else:
                self.changes[key] = change
        if others:
            shapes |= {name: self._given[entry] for name, entry in self.added.items()}
            self.changes |= _merge_with_peft(base, adapter, about, config, others, shapes)

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
            name, module, part = read_entry(entry)
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
                                f"{some(lost)}. Is it the adapter's base?")
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

    def _replaces_all(self, key: str) -> bool:
        """Returns whether the adapter has every one of the matrices that are tied to the embedding."""
        tied = {name for name, first in self._family.tied.items() if first == key} | {key, self._family.output}
        return tied <= {canonical(read_entry(entry)[0], self._family, tied=False) for entry in self._given} | {""}

    def _must_stand_alone(self, key: str, module: str) -> None:
        """Refuses to change one of several matrices that the architecture holds as one: no one matrix is right for all.

        A masked model's embedding may be adapted: the output matrix it is tied to scores nothing in a re-ranker.
        """
        alone = canonical(f"{module}.weight", self._family, tied=False)
        task = self._about.task_type
        generates = task in _GENERATES or not task and self._family.output in self._family.token_rows
        tied = self._tied and key == self._family.embedding and (alone != key or generates)
        if tied or key in self._family.tied.values():
            raise self._refused(f"it adapts {module}, which the base model {self._about.base!r} ties to another "
                                "matrix, so no merged matrix is right for both. Train it without the embeddings, or "
                                "untie them")


def _merge_with_peft(base: list[WeightFile], adapter: WeightFile, about: AdapterConfig, config: Mapping[str, Any],
                     others: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Returns parameter -> its value in float32 as PEFT merges it; the whole model is in memory meanwhile.

    ``others`` maps the canonical names of the parameters to the adapter's names of their modules; ``shapes`` are those
    of the adapted model.
    """
    try:
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingPackageError(f"{adapter.path} is an adapter that only PEFT can merge (more than LoRA of linear "
                                  "layers). Install it: pip install peft") from error
    rank = max([about.rank, *about.rank_pattern.values()])
    if rank > max(max(shape, default=0) for shape in shapes.values()):
        raise CheckpointError(f"{about.path}: the rank {rank} is larger than every matrix of the base model")
    family, tied = family_of(str(config["model_type"])), ties_embeddings(config)
    check_layers(about.path, config, len(shapes))
    model = _built(dict(config) | adapted_config(config, about, shapes), about, set(others.values()))
    held = {canonical(name, family, tied): (file, name) for file in base for name in file.shapes()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's advice to those who train
        for name, parameter in model.named_parameters():
            file, stored = held.get(canonical(name, family, tied), (None, ""))
            if file is not None and file.shapes()[stored] == tuple(parameter.shape):
                parameter.copy_(file.tensor(stored))
        with library_errors(f"{adapter.path}: PEFT cannot merge it with {about.path.name} into the base model "
                            f"{about.base!r}"):
            adapted = get_peft_model(model, _without_patterns(PeftConfig.from_pretrained(str(about.path.parent)),
                                                              adapter, about))
            read: Any = set_peft_model_state_dict(adapted, {name: adapter.tensor(name) for name in adapter.shapes()})
            lost = [*read.unexpected_keys, *(name for name in read.missing_keys if "lora_" in name)]
            if lost:
                raise ValueError(f"{len(lost)} entries are missing or unknown: {', '.join(lost[:5])}")
            merged = adapted.merge_and_unload().state_dict()
    found = {canonical(name, family, tied): value for name, value in merged.items()}
    absent = sorted(others.keys() - found.keys())
    if absent:
        raise CheckpointError(f"{adapter.path}: PEFT merges it into a {type(model).__name__}, which has no "
                              f"{', '.join(absent[:5])}")
    return {name: found[name] for name in others}


def _without_patterns(config: Any, adapter: WeightFile, about: AdapterConfig) -> Any:
    """Names the modules of which the adapter has matrices: PEFT would match patterns without a limit of time."""
    entries = map(read_entry, adapter.shapes())
    modules = sorted({module for _, module, part in entries if part is not None and part.startswith("lora_")})
    config.target_modules, config.exclude_modules = modules, None
    config.layers_to_transform = config.layers_pattern = None
    config.rank_pattern = {re.escape(module): about.rank_of(module) for module in modules}
    config.alpha_pattern = {re.escape(module): about.alpha_of(module) for module in modules}
    return config


def _built(config: dict[str, Any], about: AdapterConfig, modules: set[str]) -> torch.nn.Module:
    """Returns a model of the class that has all modules that the adapter changes, on the CPU in float32."""
    import transformers

    with library_errors(f"{about.base!r}: transformers cannot build the configuration from its config.json"):
        known = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
    names = [_CLASSES[about.task_type]] if about.task_type in _CLASSES else [
        "AutoModel", "AutoModelForMaskedLM", *list(_CLASSES.values())[1:]]
    for name in names:
        auto = getattr(transformers, name)
        if type(known) not in auto._model_mapping:
            continue
        with torch.device("meta"):
            found = {module for module, _ in auto.from_config(known).named_modules()}
        if modules <= found:
            model: torch.nn.Module = auto.from_config(known, dtype=torch.float32)
            return model
    raise CheckpointError(f"{about.path}: transformers has no class for {config['model_type']!r} models that has "
                          f"{', '.join(sorted(modules)[:5])}; name its task_type there, or merge it with PEFT's "
                          "merge_and_unload and name the result")
