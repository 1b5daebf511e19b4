"""What a sentence-transformers folder states: how embeddings are pooled and compared, and how pairs are scored."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional

from pyterrier_taskarith.checkpoints import Checkpoint, open_weights
from pyterrier_taskarith.errors import CheckpointError, ScorerError

logger = logging.getLogger("pyterrier_taskarith")

#: Keys of the older 1_Pooling/config.json, in the order in which several are concatenated.
_OLD_KEYS = {"pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
             "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
             "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken"}
#: Names that sentence-transformers has given to the transformer's own settings, by preference.
_TRANSFORMER_CONFIGS = tuple(f"sentence_{kind}_config.json" for kind in (
    "bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"))


def _cls(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(1)]


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(~mask.bool().unsqueeze(-1), float("-inf")).amax(1)


def _mean(hidden: torch.Tensor, weights: torch.Tensor, *, root: bool = False) -> torch.Tensor:
    """Averages over the length; ``root`` divides by the square root of the sum of weights instead of the sum."""
    weights = weights.unsqueeze(-1).float()
    total = weights.sum(1).clamp(min=1e-9)
    return (hidden * weights).sum(1, dtype=torch.float32) / (total.sqrt() if root else total)


def _weighted_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _mean(hidden, mask * torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=torch.float32))


#: Pooling mode -> (hidden (n, length, d), mask (n, length)) -> (n, d).
POOLINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": _cls, "max": _max, "mean": _mean, "mean_sqrt_len_tokens": partial(_mean, root=True),
    "weightedmean": _weighted_mean, "lasttoken": _last}

#: Similarity -> (queries (n, d), texts (n, d)) -> (n,); distances are negated, so that higher is better.
SIMILARITIES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cosine": functional.cosine_similarity,
    "dot": lambda queries, texts: (queries * texts).sum(-1),
    "euclidean": lambda queries, texts: -(queries - texts).norm(dim=-1),
    "manhattan": lambda queries, texts: -(queries - texts).abs().sum(-1),
}

#: Last part of an activation's path in torch -> (n, labels) logits -> (n, labels).
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda logits: logits, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "ReLU": torch.relu,
    "LogSigmoid": functional.logsigmoid, "Softplus": functional.softplus,
    "Softmax": lambda logits: logits.softmax(-1), "LogSoftmax": lambda logits: logits.log_softmax(-1)}
#: Labels -> the activation of a folder that states none.
_DEFAULTS = {1: "Sigmoid", 2: "Identity"}
#: Settings of the Transformer module that change how it reads a pair.
_READING = ("do_lower_case", "processing_kwargs", "config_args", "config_kwargs")


@dataclass(frozen=True)
class EmbeddingRecipe:
    """How a bi-encoder makes and compares embeddings; everything is read from its folder.

    Attributes:
        poolings: Names in :data:`POOLINGS`, concatenated.
        after: What is applied to the pooled (n, d) embeddings, in order.
        similarity: Name in :data:`SIMILARITIES`.
        max_length: Tokens of an input, or None where the folder does not say.
        lower_case: Whether texts are lower-cased first.
        prompts: Kind ("query", "document") -> text put before the input.
        pool_prompt: Whether the prompt's tokens are pooled too.
    """

    poolings: tuple[str, ...] = ("mean",)
    after: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = ()
    similarity: str = "cosine"
    max_length: int | None = None
    lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=lambda: {"query": "", "document": ""})
    pool_prompt: bool = True


def read_recipe(checkpoint: Checkpoint, device: torch.device) -> EmbeddingRecipe:
    """Reads a sentence-transformers folder; one without ``modules.json`` is mean-pooled and compared by cosine.

    Args:
        checkpoint: The folder.
        device: Where dense layers after the pooling go.

    Raises:
        ScorerError: If it has a module, pooling or similarity that is not supported.
    """
    root = checkpoint.located.root
    if not (root / "modules.json").is_file():
        return EmbeddingRecipe()
    poolings: tuple[str, ...] = ()
    after: list[Callable[[torch.Tensor], torch.Tensor]] = []
    pool_prompt = True
    for module in read_json(root / "modules.json")[1:]:
        kind, folder = module["type"].rsplit(".", 1)[-1], root / module["path"]
        if (kind == "Pooling") == bool(poolings):
            raise ScorerError(f"{root / 'modules.json'}: after the Transformer there must be one Pooling, then the "
                              f"modules that are applied to the pooled embedding; {kind!r} is at another position")
        if kind == "Pooling":
            config = read_json(folder / "config.json")
            poolings, pool_prompt = _poolings(config, folder), bool(config.get("include_prompt", True))
        elif kind == "Normalize":
            after.append(functional.normalize)
        elif kind == "Dense":
            after.append(_dense(folder, device))
        else:
            raise ScorerError(f"{root / 'modules.json'}: module {kind!r} is not supported; Pooling, Normalize and "
                              "Dense are")
    if not poolings:
        raise ScorerError(f"{root / 'modules.json'} lists no Pooling, so it does not say how to make an embedding")
    about = read_json(root / "config_sentence_transformers.json")
    similarity = about.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        raise ScorerError(f"{root / 'config_sentence_transformers.json'}: similarity {similarity!r} is not supported; "
                          f"{', '.join(SIMILARITIES)} are")
    transformer = _transformer_settings(checkpoint)
    return EmbeddingRecipe(poolings, tuple(after), similarity, transformer.get("max_seq_length"),
                           bool(transformer.get("do_lower_case", False)), _prompts(about), pool_prompt)


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file, or an empty dict where there is none.

    Raises:
        CheckpointError: If it is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error})") from error


def module_kinds(checkpoint: Checkpoint) -> list[str]:
    """Returns the kinds of module that a sentence-transformers folder lists; none for another folder."""
    modules = read_json(checkpoint.located.root / "modules.json")
    return [str(module["type"]).rsplit(".", 1)[-1] for module in modules]


def _transformer_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    folder = checkpoint.located.weights
    return next(filter(None, (read_json(folder / name) for name in _TRANSFORMER_CONFIGS)), {})


def _poolings(config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    modes = config.get("pooling_mode") or [mode for key, mode in _OLD_KEYS.items() if config.get(key)] or "mean"
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown:
        raise ScorerError(f"{folder / 'config.json'}: pooling {unknown} is not supported; {', '.join(POOLINGS)} are")
    return modes


def _prompts(about: dict[str, Any]) -> dict[str, str]:
    """Returns the prompts that sentence-transformers' encode_query and encode_document use.

    Both have a default there, so that "passage" and the default prompt are not used (sentence-transformers 5.7, 6.2).
    """
    prompts = about.get("prompts") or {}
    return {kind: prompts.get(kind) or "" for kind in ("query", "document")}


def _dense(folder: Path, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    config = read_json(folder / "config.json")
    read = config.get("module_input_name") or "sentence_embedding"
    if config.get("use_residual") or {read, config.get("module_output_name") or read} != {"sentence_embedding"}:
        raise ScorerError(f"{folder / 'config.json'}: a residual connection, or other inputs and outputs than the "
                          "pooled embedding, are not supported")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if activation not in ("Tanh", "Identity", "ReLU", "GELU"):
        raise ScorerError(f"{folder / 'config.json'}: activation {activation!r} is not supported")
    activate = getattr(torch.nn, activation)()
    state = {name: file.tensor(name).float().to(device) for file in open_weights(folder) for name in file.shapes()}
    weight, bias = state["linear.weight"], state.get("linear.bias")
    return lambda embeddings: activate(functional.linear(embeddings, weight, bias))


@dataclass(frozen=True)
class PairRecipe:
    """What decides a score beside the model and its tokenizer.

    Attributes:
        activation: Name in :data:`ACTIVATIONS`, applied to the logits.
        max_length: Tokens of a pair where sentence-transformers' own settings state them; None: the tokenizer does.
        prompt: Put before the query.
    """

    activation: str
    max_length: int | None = None
    prompt: str = ""


def read_pair_recipe(checkpoint: Checkpoint, labels: int) -> PairRecipe:
    """Reads what ``CrossEncoder`` of sentence-transformers reads (5.7 and 6.2).

    Args:
        checkpoint: A folder of transformers, of sentence-transformers before 5.4 (with the activation in
            ``config.json``), or of a newer one (with ``modules.json``; such a folder of another kind of model is read
            as one of transformers).
        labels: 1 or 2.

    Raises:
        ScorerError: If modules, settings or the activation are not supported.
    """
    root, config = checkpoint.located.root, checkpoint.config
    about = read_json(root / "config_sentence_transformers.json") if (root / "modules.json").is_file() else {}
    own = about if about.get("model_type") == "CrossEncoder" else {}
    old = config.get("sentence_transformers") or {}
    stated = [own.get("activation_fn"), old["activation_fn"] if "activation_fn" in old else
              config.get("sbert_ce_default_activation_function")]
    prompts, default = own.get("prompts") or {}, own.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ScorerError(f"{root / 'config_sentence_transformers.json'}: the default prompt {default!r} is not one "
                          f"of its prompts ({', '.join(prompts) or 'it has none'})")
    return PairRecipe(_activation(stated, labels, checkpoint.source), _stated_length(checkpoint) if own else None,
                      prompts.get(default) or "")


def _activation(stated: Sequence[str | None], labels: int, source: str) -> str:
    """Returns the first activation that is a part of torch, else the default."""
    for path in filter(None, stated):
        if not path.startswith("torch."):
            logger.warning("%s: its activation %r is not a part of torch, and other code is never run; the "
                           "default is used, as in sentence-transformers", source, path)
            continue
        name = path.rsplit(".", 1)[-1]
        if name not in ACTIVATIONS:
            raise ScorerError(f"{source}: the activation {path!r} is not supported; {', '.join(ACTIVATIONS)} are")
        return name
    return _DEFAULTS[labels]


def _stated_length(checkpoint: Checkpoint) -> int | None:
    """Returns the length that the Transformer module states, or None.

    Raises:
        ScorerError: If there are other modules, or a setting that changes how pairs are read.
    """
    located, kinds, settings = checkpoint.located, module_kinds(checkpoint), _transformer_settings(checkpoint)
    task = settings.get("transformer_task", "feature-extraction")
    if kinds != ["Transformer"] or task != "sequence-classification":
        raise ScorerError(f"{located.root / 'modules.json'}: only a cross-encoder of one Transformer with the task "
                          f"'sequence-classification' is supported; this one is {', '.join(kinds)}, with {task!r}")
    reading = {**settings.get("tokenizer_args", {}), **settings.get("processor_kwargs", {})}
    length = reading.pop("model_max_length", settings.get("max_seq_length"))
    others = [*filter(settings.get, _READING), *reading]
    if others:
        raise ScorerError(f"{located.weights}: the settings {', '.join(others)} of sentence-transformers are not "
                          "supported")
    return None if length is None else int(length)
