"""What the files of a PEFT adapter say: its configuration, and its names of the base model's parameters."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import regex

from pyterrier_taskarith._json import Types, read_object
from pyterrier_taskarith.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"
#: Weight files of an adapter by preference, which is PEFT's own.
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")

#: Keys that may have any value: those that are read here, those that PEFT reads where it merges, and those that say how
#: the adapter was trained or stored (PEFT 0.21).
_KNOWN = frozenset((
    "peft_type", "base_model_name_or_path", "revision", "task_type", "r", "lora_alpha", "use_rslora", "rank_pattern",
    "alpha_pattern", "fan_in_fan_out", "use_dora", "modules_to_save", "trainable_token_indices", "init_lora_weights",
    "auto_mapping", "inference_mode", "peft_version", "target_modules", "exclude_modules", "lora_dropout",
    "layers_to_transform", "layers_pattern", "bias", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
    "megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying", "lora_bias"))
#: Ways to start the training that leave the base model as it was; after all others the adapter fits another base.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
#: What a scale may not reach: float32 cannot hold it.
LARGEST = 2.0**127
#: Seconds that a pattern of an adapter may take for a name; Python's own ``re`` knows no limit.
PATIENCE = 1
#: Types of what is read here; PEFT reads the rest.
_TYPES: Types = {
    "peft_type": str, "base_model_name_or_path": str, "revision": str, "task_type": str, "rank_pattern": dict,
    "alpha_pattern": dict, "use_rslora": bool, "use_dora": bool, "fan_in_fan_out": bool, "modules_to_save": list,
    "target_modules": (str, list), "exclude_modules": (str, list)}
_PREFIX = "base_model.model."
_ENTRY = re.compile(r"(?P<module>.+?)\.(?P<part>lora_\w+(?:\.weight|\.bias)?|token_adapter\.trainable_tokens_delta)")
#: What may be trained of a module; all but ``lora_B.bias`` change its weight.
_PARTS = ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A", "lora_embedding_B",
          "lora_magnitude_vector", "token_adapter.trainable_tokens_delta")
#: What PEFT puts between a module and its parameters.
_WRAPPERS = ("base_layer", "token_adapter", "modules_to_save")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA adapter's settings.

    Attributes:
        path: The file they are from.
        base: The base model: a hub id or a folder.
        revision: Of the base on the hub.
        task_type: PEFT's name of the task, such as ``"SEQ_CLS"``; empty where it does not say.
        rank: r, where no pattern says otherwise.
        alpha: lora_alpha, likewise.
        rank_pattern: Pattern of module names -> r.
        alpha_pattern: Pattern of module names -> lora_alpha.
        rslora: Whether the scale is alpha/√r, not alpha/r.
        plain: Whether B·A is all that is done to a matrix, which is stored as (outputs, inputs).
        saved_modules: Names of modules that the adapter replaces.
        tied: Whether an embedding that it replaces is also the matrix that is tied to it.
    """

    path: Path
    base: str
    revision: str | None
    task_type: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rslora: bool
    plain: bool
    saved_modules: tuple[str, ...]
    tied: bool

    def rank_of(self, module: str) -> int:
        """Returns r of a module of the base model."""
        return _of_pattern(self.rank_pattern, module, self.rank)

    def alpha_of(self, module: str) -> float:
        """Returns lora_alpha of a module of the base model."""
        return _of_pattern(self.alpha_pattern, module, self.alpha)

    def scale_of(self, module: str) -> float:
        """Returns what B·A is multiplied by: alpha/r, or alpha/√r (rsLoRA, https://arxiv.org/abs/2312.03732)."""
        rank = self.rank_of(module)
        return self.alpha_of(module) / (math.sqrt(rank) if self.rslora else rank)

    def saves(self, name: str) -> bool:
        """Returns whether a parameter is of a module that the adapter replaces or adds."""
        return any(f".{module}." in f".{name}" for module in self.saved_modules)


def read_adapter_config(path: Path) -> AdapterConfig:
    """Returns what ``adapter_config.json`` says.

    Raises:
        CheckpointError: If it cannot be read, is of another kind than LoRA, or has a setting that would change the
            weights in a way that is not supported; the message names the key.
    """
    about = read_object(path, _TYPES)
    if about.get("peft_type") != "LORA":
        raise CheckpointError(f"{path}: peft_type={about.get('peft_type')!r} is not supported, only 'LORA' is. Merge "
                              "it into its base with PEFT's merge_and_unload, where it has one, and name the result")
    for key, value in about.items():
        if key not in _KNOWN and value not in (None, False, [], {}, ""):
            raise CheckpointError(f"{path}: {key}={_short(value)} is not supported. Merge the adapter into its base "
                                  "model with PEFT's merge_and_unload and name the result")
    start = about.get("init_lora_weights")
    if not any(start is known for known in _STARTS[:3]) and start not in _STARTS[3:]:
        raise CheckpointError(f"{path}: init_lora_weights={_short(start)} is not supported: it changes the base "
                              "model's weights too, so it does not fit the published base. Save it with PEFT's "
                              "save_pretrained(…, path_initial_model_for_weight_conversion=…), or merged")
    try:
        return _parsed(path, about)
    except (TypeError, ValueError, AttributeError, OverflowError, regex.error) as error:
        raise CheckpointError(f"{path} is not an adapter's configuration ({error})") from error


def read_entry(entry: str) -> tuple[str, str, str | None]:
    """Returns (parameter of the base, its module, what of it) for a name in an adapter's file; None: unknown."""
    name = entry.removeprefix(_PREFIX)
    match = _ENTRY.fullmatch(name)
    if match:
        module = match["module"].removesuffix(".base_layer")
        part = match["part"]
        parameter = "bias" if part == "lora_B.bias" else "weight"
        return f"{module}.{parameter}", module, part if part in _PARTS else None
    *modules, last = name.split(".")
    if "original_module" in modules:  # what the module was before the one that is saved
        return name, "", "original"
    module = ".".join(part for part in modules if part not in _WRAPPERS)
    return f"{module}.{last}", module, "whole"


def _parsed(path: Path, about: Mapping[str, Any]) -> AdapterConfig:
    base, revision = about.get("base_model_name_or_path"), about.get("revision")
    if not isinstance(base, str) or not base:
        raise ValueError(f"base_model_name_or_path={base!r} names no base model; write its hub id or folder there")
    return AdapterConfig(
        path, base, None if revision is None else str(revision), str(about.get("task_type") or ""),
        _rank("r", about.get("r", 8)), _number("lora_alpha", about.get("lora_alpha", 8)),
        {_pattern(key): _rank(key, value) for key, value in (about.get("rank_pattern") or {}).items()},
        {_pattern(key): _number(key, value) for key, value in (about.get("alpha_pattern") or {}).items()},
        bool(about.get("use_rslora")), not about.get("use_dora") and not about.get("fan_in_fan_out"),
        tuple(map(str, about.get("modules_to_save") or ())), bool(about.get("ensure_weight_tying")))


def _of_pattern(patterns: Mapping[str, _Value], module: str, otherwise: _Value) -> _Value:
    """Returns the value of the first pattern that is the module's name or the end of it, as PEFT matches."""
    for pattern, value in patterns.items():
        try:
            if regex.match(rf"(.*\.)?({pattern})$", module, timeout=PATIENCE):
                return value
        except TimeoutError:
            raise CheckpointError(f"the pattern {_short(pattern)} takes more than {PATIENCE} s to match {module!r}; "
                                  "write the names of the modules in the adapter's configuration") from None
    return otherwise


def _pattern(text: str) -> str:
    regex.compile(text)
    return text


def _rank(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key}: the rank {value!r} is not a whole number from 1")
    return value


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise ValueError(f"{key}: alpha {value!r} is not a number")
    return float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
