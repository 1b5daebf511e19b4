"""The small files of a checkpoint: ``config.json``, ``modules.json`` of sentence-transformers, ``taskarith.json``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyterrier_taskarith._json import read_json, read_object
from pyterrier_taskarith.checkpoints._adapter_config import AdapterConfig
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.families import family_of

#: What is read from ``config.json`` here, beside what transformers reads.
_TYPES = {"model_type": str, "architectures": list, "auto_map": dict, "quantization_config": dict, "vocab_size": int,
          "tie_word_embeddings": bool, "n_positions": int, "max_position_embeddings": int, "rope_scaling": dict,
          "rope_parameters": dict, "rope_theta": float, "id2label": dict, "sentence_transformers": dict,
          "sbert_ce_default_activation_function": str, "layer_types": list, "pad_token_id": int,
          "decoder_start_token_id": int}
#: Keys that say how many layers a module is built with.
_LAYERS = frozenset(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_encoder_layers", "encoder_layers",
                     "num_decoder_layers", "decoder_layers", "num_hidden_groups", "inner_group_num"))
#: Modules without weights.
_WEIGHTLESS = ("Pooling", "Normalize")
#: The file of a merged folder that says what it was made from.
RECORD = "taskarith.json"
#: Canonical names of a classifier's last matrix, one row a label.
_CLASSIFIERS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")


def read_config(folder: Path, *, trust_config: bool = False) -> dict[str, Any]:
    """Returns the ``config.json`` of a folder as written.

    Args:
        folder: Where it is.
        trust_config: Whether its ``model_type`` holds although it names code of its own for the model (``auto_map``).

    Raises:
        CheckpointError: If it is absent, is not a JSON object, states no ``model_type`` that transformers knows, names
            code of its own, or says that the weights are quantised.
    """
    path = folder / "config.json"
    try:
        config = read_object(path, _TYPES)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no config.json") from error
    try:
        family_of(str(config.get("model_type")))
    except (KeyError, ValueError) as error:
        if config.get("auto_map"):
            # As in transformers, code in the folder is not needed where transformers has its own.
            raise CheckpointError(f"{path} asks for code of its own (auto_map) for the model type "
                                  f"{config.get('model_type')!r}, which transformers does not have; code that a "
                                  "checkpoint brings is never run. Name a model of a known type, or update "
                                  "transformers if it has got the type since") from error
        raise CheckpointError(f"{path} states no model_type that transformers knows "
                              f"(got {config.get('model_type')!r}, of {config.get('architectures') or 'no class'}); "
                              "code of its own, where it has some, is never run") from error
    code = sorted({str(name) for key, name in (config.get("auto_map") or {}).items() if key.startswith("AutoModel")})
    if code and not trust_config:
        raise CheckpointError(f"{path} names code of its own for the model (auto_map: {', '.join(code)}), which is "
                              "never run. That code may change what the weights mean, such as attention in both "
                              f"directions. If transformers' own class for {config['model_type']!r} computes the same, "
                              "or is wanted all the same, say so: trust_config=True, --trust-config on the command "
                              "line")
    if config.get("quantization_config"):
        raise CheckpointError(f"{path} says that the weights are quantised (quantization_config); they cannot be "
                              "merged. Name the model as it was before quantisation")
    return config


def check_layers(path: Path, config: Mapping[str, Any], tensors: int) -> None:
    """Checks that a configuration states no more layers than there are tensors, before a module of so many is built.

    Raises:
        CheckpointError: Naming file, key and value.
    """
    for key, value in config.items():
        if isinstance(value, dict):
            check_layers(path, value, tensors)
        elif key in _LAYERS and isinstance(value, int) and value > max(tensors, 1):
            raise CheckpointError(f"{path}: {key} = {value}, but the files hold {tensors} tensors; the two are not of "
                                  "one model")


def adapted_config(config: Mapping[str, Any], adapter: AdapterConfig, shapes: Mapping[str, tuple[int, ...]]
                   ) -> dict[str, Any]:
    """Returns the entries of the base's configuration that its adapter changes.

    Args:
        config: The base's.
        adapter: The adapter's own.
        shapes: Canonical name -> shape in the adapted model.
    """
    changed: dict[str, Any] = {}
    rows = shapes.get(family_of(str(config["model_type"])).embedding, (None,))[0]
    if rows is not None and config.get("vocab_size", rows) != rows:
        changed["vocab_size"] = rows
    if adapter.task_type == "SEQ_CLS":
        from transformers.models.auto import modeling_auto

        classes = modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
        labels = next((shapes[name][0] for name in _CLASSIFIERS if name in shapes and adapter.saves(name)), None)
        if labels is not None:
            names = {str(label): f"LABEL_{label}" for label in range(labels)}
            changed |= {"architectures": [classes[str(config["model_type"])]], "id2label": names,
                        "label2id": {name: int(label) for label, name in names.items()}}
    return changed


def read_origin(root: Path) -> str | None:
    """Returns the Θ_T that a merged folder was made from, as it was named; None for other folders."""
    try:
        inputs = read_object(root / RECORD)["recipe"]["inputs"]
        return next((str(source) for role, source, *_ in inputs if role == "Θ_T"), None)
    except (OSError, ValueError, LookupError, TypeError):  # of a folder that something else wrote, or damaged
        return None


def transformer_folder(root: Path) -> Path:
    """Returns the folder of the transformer: of the first module, or ``root`` where there is no ``modules.json``.

    Raises:
        CheckpointError: If the file is not a list of modules, the first is not a Transformer, or is outside ``root``.
    """
    modules = _modules(root)
    if not modules:
        return root
    kind, folder = modules[0]
    if kind != "Transformer":
        raise CheckpointError(f"{root / 'modules.json'}: the first module is {kind!r}; only a Transformer of "
                              "sentence-transformers can be merged")
    return folder


def further_folders(root: Path, *, weighted: bool = False) -> list[Path]:
    """Returns the folders of the modules after the transformer; if ``weighted``, of those that may have weights."""
    return [folder for kind, folder in _modules(root)[1:]
            if folder != root and not (weighted and kind in _WEIGHTLESS)]


def _modules(root: Path) -> list[tuple[str, Path]]:
    """Returns the modules' kinds and folders; the kind of a class from elsewhere is its whole name."""
    path = root / "modules.json"
    if not path.is_file():
        return []
    try:
        modules = [(re.sub(r"^sentence_transformers\.(?:.*\.)?", "", entry["type"]), entry["path"])
                   for entry in read_json(path)]
        if not modules:
            raise ValueError("it is empty")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a list of sentence-transformers modules ({error!r})") from error
    for _, folder in modules:
        if not isinstance(folder, str) or "\0" in folder:
            raise CheckpointError(f"{path} names the folder {folder!r}, which is not a path")
        if ".." in Path(folder).parts or not (root / folder).resolve().is_relative_to(root.resolve()):
            raise CheckpointError(f"{path} names the folder {folder!r}, which is outside {root}; refused")
    return [(kind, root / folder) for kind, folder in modules]
