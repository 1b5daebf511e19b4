"""The settings files of sentence-transformers: every key is applied, known not to change a score, or refused."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyterrier_taskarith._json import Types, check_types, read_json, read_object
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError

#: Names that sentence-transformers has given to the transformer's own settings, by preference.
_TRANSFORMER_FILES = tuple(f"sentence_{kind}_config.json" for kind in (
    "bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"))
#: Arguments of the libraries below that change no score: how files are found, and how the same numbers are computed.
_LOADING = ("attn_implementation", "dtype", "torch_dtype", "trust_remote_code", "use_fast", "use_safetensors",
            "low_cpu_mem_usage", "device_map", "revision", "local_files_only", "add_pooling_layer")
#: transformer_task -> what the module reads from the model and gives to the next one.
_TASKS = {"feature-extraction": ("last_hidden_state", "token_embeddings"),
          "sequence-classification": ("logits", "scores")}


@dataclass(frozen=True)
class Module:
    """A line of ``modules.json``.

    Attributes:
        kind: Its class in sentence-transformers.
        folder: Where its settings and weights are.
    """

    kind: str
    folder: Path


@dataclass(frozen=True)
class TransformerSettings:
    """What ``sentence_bert_config.json`` says of the first module.

    Attributes:
        max_length: Tokens of an input; None: the tokenizer and the model decide.
        lengths: Kind ("query", "document") -> tokens of such an input, where they differ.
        lower_case: Whether texts are lower-cased first.
        task: "feature-extraction" or "sequence-classification", or another.
        file: That file; the one that would be read where there is none.
    """

    max_length: int | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)
    lower_case: bool = False
    task: str = "feature-extraction"
    file: Path = Path()


def read_settings(path: Path, applied: Types, harmless: Collection[str] = (),
                  unsupported: Collection[str] = ()) -> dict[str, Any]:
    """Reads a JSON file whose every key must be accounted for.

    Args:
        path: The file; an absent one is an empty dict.
        applied: Keys that the caller reads, with the types that their values may have.
        harmless: Keys that change no score.
        unsupported: Keys that change a score unless they are null, false or empty.

    Raises:
        CheckpointError: If it is not JSON or not an object, or a value that is read has another type.
        ScorerError: If it holds an unsupported setting, or a key that is not known.
    """
    content = read_object(path, applied) if path.is_file() else {}
    refused = [key for key in content if key in unsupported and content[key]]
    unknown = sorted(content.keys() - {*applied, *harmless, *unsupported})
    if refused or unknown:
        known = "not supported" if refused else "not known"
        named = ", ".join(f"{key} = {json.dumps(content[key], ensure_ascii=False)}" for key in refused or unknown)
        raise ScorerError(f"{path}: {named}: {known} here, and sentence-transformers may score differently with it. If "
                          "it does not change scores, remove it from the file")
    return content


def read_modules(checkpoint: Checkpoint) -> list[Module]:
    """Returns the modules that a sentence-transformers folder lists, in order; none for another folder.

    Raises:
        ScorerError: If one is code from elsewhere, which is never run, or takes arguments at each call.
    """
    path = checkpoint.located.root / "modules.json"
    modules = []
    for line in read_json(path) if path.is_file() else ():
        check_types(path, line, {"type": str, "path": str, "kwargs": (list, dict)})
        name = line["type"]
        if not name.startswith("sentence_transformers."):
            raise ScorerError(f"{path}: the module {name!r} is code beside the model, which is never run")
        if line.get("kwargs"):
            raise ScorerError(f"{path}: the module {name!r} takes {line['kwargs']} at each call, which is not "
                              "supported")
        modules.append(Module(name.rsplit(".", 1)[-1], path.parent / line["path"]))
    return modules


def read_about(checkpoint: Checkpoint, applied: Types | None = None) -> dict[str, Any]:
    """Returns ``config_sentence_transformers.json``; of a folder without ``modules.json``, an empty dict.

    Args:
        checkpoint: The folder.
        applied: Keys that the caller reads, beside the prompts and the kind of model.

    Raises:
        ScorerError: If a key is not known, or the default prompt is not one of its prompts.
    """
    root = checkpoint.located.root
    if not (root / "modules.json").is_file():
        return {}
    path = root / "config_sentence_transformers.json"
    # CrossEncoder writes no similarity, and SentenceTransformer no activation: either may be left from a conversion.
    applied = applied or {}
    about = read_settings(path, {"model_type": str, "prompts": dict, "default_prompt_name": str, **applied},
                          ("__version__", "requirements", "similarity_fn_name", "activation_fn",
                           "keep_in_fp32_modules"), ("truncate_dim",) if "truncate_dim" not in applied else ())
    prompts, default = about.get("prompts") or {}, about.get("default_prompt_name")
    check_types(path, prompts, dict.fromkeys(prompts, str))
    check_types(path, about, {"similarity_fn_name": str, "activation_fn": str})
    if default is not None and default not in {*prompts, "query", "document"}:
        raise ScorerError(f"{path}: the default prompt {default!r} is not one of its prompts "
                          f"({', '.join(prompts) or 'it has none'})")
    return about


def read_transformer(checkpoint: Checkpoint) -> TransformerSettings:
    """Reads the settings of the Transformer module, as sentence-transformers 5.7 and 6.2 do.

    Raises:
        ScorerError: If a setting is not known or not supported.
    """
    folder = checkpoint.located.weights
    paths = [folder / name for name in _TRANSFORMER_FILES]
    path = next((path for path in paths if path.is_file() and read_object(path)), paths[0])
    content = read_settings(
        path, {"max_seq_length": int, "do_lower_case": bool, "query_length": int, "document_length": int,
               "transformer_task": str, "modality_config": dict, "module_output_name": str, "tokenizer_args": dict,
               "processor_kwargs": dict, "model_args": dict, "model_kwargs": dict},
        ("unpad_inputs",),
        ("processing_kwargs", "config_args", "config_kwargs", "query_expansion", "tokenizer_name_or_path"))
    # As there, an old name replaces the new one, whole, where a file has both.
    loaded, reading = (content.get(old, content.get(new)) or {} for old, new in (
        ("model_args", "model_kwargs"), ("tokenizer_args", "processor_kwargs")))
    others = sorted({*loaded, *reading} - {*_LOADING, "model_max_length", "padding_side"})
    if others:
        raise ScorerError(f"{path}: the arguments {', '.join(others)} are not supported")
    check_types(path, reading, {"model_max_length": int, "padding_side": str})
    task = content.get("transformer_task") or "feature-extraction"
    output, name = _TASKS.get(task, ("", ""))
    usual = {"method": "forward", "method_output_name": output}
    modalities = content.get("modality_config") or {"text": usual}
    if output and (modalities.get("text") != usual or (content.get("module_output_name") or name) != name):
        raise ScorerError(f"{path}: modality_config or module_output_name asks for another output than {output!r} of "
                          "the model, which is not supported")
    length = reading.get("model_max_length", content.get("max_seq_length"))
    lengths = {kind: content[f"{kind}_length"] for kind in ("query", "document") if content.get(f"{kind}_length")}
    return TransformerSettings(length, lengths, bool(content.get("do_lower_case")), task, path)
